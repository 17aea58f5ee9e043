import { readDotenv } from "../dotenv.ts"
import { type HomeOptions, homePaths, withHome } from "../home.ts"
import { runCommand } from "../run-command.ts"
import { chooseContext, chooseSlots } from "../slot-choice.ts"
import { openSlots } from "../slots.ts"
import { readSlots } from "../slots-file.ts"

type Options = HomeOptions & { context?: string[]; dotenv?: string }

/** The home is closed, and every value open, before the command starts. */
export async function exec(command: readonly string[], options: Options): Promise<void> {
  const file = options.dotenv === undefined ? undefined : await readDotenv(options.dotenv)
  const { context, project } = await chooseContext(options.context)
  // Of a file that names slots the command gets those, whatever else the project names.
  const wanted = file === undefined ? project : { path: file.path, names: [...new Set(file.slots.values())] }
  const slots = chooseSlots(await readSlots(homePaths(options)), context, wanted)
  const values = await withHome(options, ({ keyfold }) => openSlots(keyfold, slots))
  const bySlot = new Map(slots.map(({ name }, i) => [name, values[i] as string]))
  const variables = file === undefined ? [...bySlot.keys()].map((name) => [name, name] as const) : file.slots
  const secrets = Object.fromEntries([...variables].map(([name, slot]) => [name, bySlot.get(slot) as string]))
  await runCommand(command, { ...file?.settings, ...secrets })
}
