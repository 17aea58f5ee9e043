import { matchText } from "./bindings.ts"
import { readBindings } from "./bindings-file.ts"
import { type Finding, fail, failed, pass, skip } from "./finding.ts"
import type { Home } from "./home.ts"
import type { HomePaths } from "./root-key-files.ts"
import { type BrokenSlot, brokenSlots } from "./slot-health.ts"
import { readSlots, type Slot } from "./slots-file.ts"

/** Every secret slot opens, and WorkOS takes its keys. */
export async function checkSecrets({ paths, keyfold }: Home, online: boolean): Promise<readonly Finding[]> {
  try {
    const slots = await readSlots(paths)
    if (slots.length === 0) return [skip("secrets", "no slot is set")]
    const tried = online ? slots : await withoutCalls(slots, paths)
    const broken = await brokenSlots(keyfold, tried, online)
    if (broken.length > 0) {
      return broken.map((each) => {
        const message = `${matchText(each.slot.context)}: ${each.error.message}`
        return fail("secrets", each.error.code, message, wayOut(each))
      })
    }
    const rest =
      tried.length < slots.length ? `, ${slots.length - tried.length} under customers' keys not tried` : ""
    return [pass("secrets", `${tried.length} secret slot${tried.length === 1 ? " opens" : "s open"}${rest}`)]
  } catch (error) {
    return [failed("secrets", error, "put secrets.json back, or remove it and set its values anew")]
  }
}

/** Those that open without asking a cloud: no binding, removed ones included, has a part in their context. */
async function withoutCalls(slots: readonly Slot[], paths: HomePaths): Promise<readonly Slot[]> {
  const bindings = await readBindings(paths)
  return slots.filter(
    ({ context }) =>
      !bindings.some(({ match }) => Object.entries(match).every(([name, value]) => context[name] === value)),
  )
}

function wayOut({ slot, error, isForAsking }: BrokenSlot): string {
  if (isForAsking) return "run keyfold doctor --fix"
  if (error.retryable) return "look again later"
  if (slot.host !== undefined) return "run keyfold secrets add workos anew, with the right --host"
  return error.fix ?? "mend what it names, or set it anew"
}
