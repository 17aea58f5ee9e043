import { KeyfoldError } from "@keyfold/core"
import { isSameMatch } from "../bindings.ts"
import { contextOf } from "../context.ts"
import { type HomeOptions, withHome } from "../home.ts"
import { runCommand } from "../run-command.ts"
import { openSlots } from "../slots.ts"
import { readSlots } from "../slots-file.ts"

type Options = HomeOptions & { context: string[] }

/** The home is closed, and every value open, before the command starts. */
export async function exec(command: readonly string[], options: Options): Promise<void> {
  const context = contextOf(options.context)
  const values = await withHome(options, async ({ paths, keyfold }) => {
    const slots = (await readSlots(paths)).filter((each) => isSameMatch(each.context, context))
    if (slots.length === 0) {
      throw new KeyfoldError(
        "INVALID_ARGUMENT",
        "no slot has exactly this context: keyfold secrets set makes one, keyfold secrets list shows those there are",
      )
    }
    const opened = await openSlots(keyfold, slots)
    return Object.fromEntries(slots.map(({ name }, i) => [name, opened[i]]))
  })
  await runCommand(command, values)
}
