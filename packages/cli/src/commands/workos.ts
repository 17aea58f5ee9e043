import { KeyfoldError } from "@keyfold/core"
import { isSameMatch, matchText } from "../bindings.ts"
import { type HomeOptions, makeMissingHome, withHome } from "../home.ts"
import { readLines } from "../secret-input.ts"
import { chooseContext } from "../slot-choice.ts"
import { changeSlots, withSlots } from "../slots-file.ts"
import { parseHost, WORKOS_NAMES } from "../workos.ts"
import { sealWorkos, workosIds } from "../workos-slots.ts"

type Options = HomeOptions & { context?: string[]; json?: true }

/** Both values or neither, and only what WorkOS takes. */
export async function add(service: string, options: Options & { host: string }): Promise<void> {
  checkService(service)
  const host = parseHost(options.host)
  const { context } = await chooseContext(options.context)
  const values = await readLines(workosIds(context))
  await makeMissingHome(options)
  const slots = await withHome(options, ({ keyfold }) => sealWorkos(keyfold, { context, host }, values))
  await changeSlots(options, (before) => withSlots(before, slots))
  if (options.json) return console.log(JSON.stringify({ names: WORKOS_NAMES, context, host }))
  console.log(`${host} takes the key. Set ${WORKOS_NAMES.join(" and ")} for ${matchText(context)}.`)
}

export async function remove(service: string, options: Options): Promise<void> {
  checkService(service)
  const { context } = await chooseContext(options.context)
  await changeSlots(options, (slots) => {
    const kept = slots.filter(
      (each) => !(WORKOS_NAMES.includes(each.name) && isSameMatch(each.context, context)),
    )
    if (kept.length < slots.length) return kept
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "there is nothing of WorkOS in exactly this context: keyfold secrets list shows what there is",
    )
  })
  if (options.json) return console.log(JSON.stringify({ names: WORKOS_NAMES, context }))
  console.log(`Removed ${WORKOS_NAMES.join(" and ")} of ${matchText(context)}.`)
}

/** Without what was given: it may be a key. */
function checkService(service: string): void {
  if (service === "workos") return
  throw new KeyfoldError("INVALID_ARGUMENT", "the only service that keyfold knows is workos")
}
