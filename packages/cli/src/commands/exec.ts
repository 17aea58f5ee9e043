import { type HomeOptions, homePaths, withHome } from "../home.ts"
import { runCommand } from "../run-command.ts"
import { chooseContext, chooseSlots } from "../slot-choice.ts"
import { openSlots } from "../slots.ts"
import { readSlots } from "../slots-file.ts"

type Options = HomeOptions & { context?: string[] }

/** The home is closed, and every value open, before the command starts. */
export async function exec(command: readonly string[], options: Options): Promise<void> {
  const choice = await chooseContext(options.context)
  const slots = chooseSlots(await readSlots(homePaths(options)), choice)
  const values = await withHome(options, ({ keyfold }) => openSlots(keyfold, slots))
  await runCommand(command, Object.fromEntries(slots.map(({ name }, i) => [name, values[i]])))
}
