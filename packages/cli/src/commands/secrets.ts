import { KeyfoldError } from "@keyfold/core"
import { isSameMatch, matchText } from "../bindings.ts"
import { contextOf } from "../context.ts"
import { printable } from "../failure.ts"
import { existingHome, type HomeOptions, makeMissingHome, withHome } from "../home.ts"
import { readValue } from "../secret-input.ts"
import { chooseContext } from "../slot-choice.ts"
import { checkSlotName } from "../slot-name.ts"
import { sealSlot } from "../slots.ts"
import { changeSlots, isSameSlot, readSlots, withSlots } from "../slots-file.ts"

type SlotOptions = HomeOptions & { context?: string[]; json?: true }

export async function set(name: string, options: SlotOptions & { force?: true }): Promise<void> {
  checkSlotName(name, options.force ?? false)
  const { context, project } = await chooseContext(options.context)
  const value = await readValue(name)
  await makeMissingHome(options)
  const slot = await withHome(options, ({ keyfold }) =>
    sealSlot(keyfold, { name, context, host: undefined }, value),
  ).finally(() => value.fill(0))
  let replaced = false
  await changeSlots(options, (slots) => {
    replaced = slots.some((each) => isSameSlot(each, slot))
    return withSlots(slots, [slot])
  })
  if (options.json) return console.log(JSON.stringify({ name, context, replaced }))
  console.log(`${replaced ? "Replaced" : "Set"} ${name} for ${matchText(context)}.`)
  if (project !== undefined && !project.names.includes(name)) {
    console.log(`A process gets it when ${printable(project.path)} names it too.`)
  }
}

/** Names and contexts; no key is needed for them, and no value is opened. */
export async function list(options: HomeOptions & { context?: string[]; json?: true }): Promise<void> {
  const context = options.context && contextOf(options.context)
  const slots = (await readSlots(existingHome(options)))
    .filter((each) => context === undefined || isSameMatch(each.context, context))
    .map(({ name, context }) => ({ name, context }))
  if (options.json) return console.log(JSON.stringify({ slots }))
  if (slots.length === 0) return console.log("no slot")
  const { default: Table } = await import("cli-table3")
  const table = new Table({ head: ["name", "context"], style: { head: [], border: [] } })
  for (const { name, context } of slots) table.push([name, matchText(context)])
  console.log(table.toString())
}

export async function remove(name: string, options: SlotOptions): Promise<void> {
  const { context } = await chooseContext(options.context)
  await changeSlots(options, (slots) => {
    const kept = slots.filter((each) => !isSameSlot(each, { name, context }))
    if (kept.length < slots.length) return kept
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "there is no such slot in exactly this context: keyfold secrets list shows them",
    )
  })
  if (options.json) console.log(JSON.stringify({ name, context }))
  else console.log(`Removed ${name} of ${matchText(context)}.`)
}
