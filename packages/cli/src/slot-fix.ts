import type { Keyfold } from "@keyfold/core"
import { isSameMatch } from "./bindings.ts"
import { type HomeOptions, withHome } from "./home.ts"
import { readLines } from "./secret-input.ts"
import { type BrokenSlot, brokenSlots } from "./slot-health.ts"
import { sealSlot } from "./slots.ts"
import { changeSlots, readSlots, type Slot, type SlotId, withSlots } from "./slots-file.ts"
import { sealWorkos, workosIds } from "./workos-slots.ts"

/** Asks anew for every value that another one would mend. All are kept, or none where WorkOS refuses one again. */
export async function fixSlots(options: HomeOptions): Promise<void> {
  const mended = await withHome(options, async ({ paths, keyfold }) => {
    const broken = await brokenSlots(keyfold, await readSlots(paths), true)
    const fixes = fixesOf(broken.filter(({ isForAsking }) => isForAsking))
    if (fixes.length === 0) return []
    const lines = await readLines(fixes.flatMap(({ ids }) => ids))
    const slots: Slot[] = []
    let at = 0
    for (const { ids, seal } of fixes) {
      slots.push(...(await seal(keyfold, lines.slice(at, at + ids.length))))
      at += ids.length
    }
    return slots
  })
  if (mended.length > 0) await changeSlots(options, (slots) => withSlots(slots, mended))
}

/** Values that are asked for and kept together. */
type Fix = {
  readonly ids: readonly SlotId[]
  readonly seal: (keyfold: Keyfold, values: readonly string[]) => Promise<readonly Slot[]>
}

function fixesOf(broken: readonly BrokenSlot[]): readonly Fix[] {
  return broken.flatMap(({ slot }, i) => {
    const { name, context, host } = slot
    if (host === undefined) {
      const seal: Fix["seal"] = async (keyfold, [value = ""]) => [
        await sealSlot(keyfold, { name, context, host }, new TextEncoder().encode(value)),
      ]
      return [{ ids: [slot], seal }]
    }
    const isSame = ({ slot: each }: BrokenSlot) => each.host === host && isSameMatch(each.context, context)
    if (broken.findIndex(isSame) < i) return []
    const seal: Fix["seal"] = (keyfold, values) => sealWorkos(keyfold, { context, host }, values)
    return [{ ids: workosIds(context), seal }]
  })
}
