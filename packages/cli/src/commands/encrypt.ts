import type { Policy } from "@keyfold/core"
import { aadOf, contextOf } from "../context.ts"
import { openInput, readAll, writeOutput } from "../files.ts"
import { type HomeOptions, homePaths, makeHome, withHome } from "../home.ts"

type Options = HomeOptions & {
  context: string[]
  input?: string
  output?: string
  aad?: string
  policy: Policy
  embedContext?: true
  text?: true
}

export async function encrypt(options: Options): Promise<void> {
  const context = contextOf(options.context)
  const how = {
    context,
    policy: options.policy,
    embedContext: options.embedContext ?? false,
    ...aadOf(options.aad),
  }
  const { stream } = await openInput(options.input, "encrypting")
  const paths = homePaths(options)
  if (await makeHome(paths)) {
    console.error(
      `made the home ${paths.folder}: keep a copy of its root.key elsewhere, without it every KEK is lost`,
    )
  }
  await withHome(options, async ({ keyfold }) => {
    if (options.text) {
      const text = await keyfold.encrypt(await readAll(stream, MAX_TEXT_PLAINTEXT), {
        ...how,
        output: "base64url",
      })
      await writeOutput(options.output, new Blob([`${text}\n`]).stream())
    } else {
      await writeOutput(options.output, await keyfold.encryptStream(stream, how))
    }
  })
}

/** Its text form stays below the format's 256 MiB, in bytes. */
const MAX_TEXT_PLAINTEXT = 190 * 2 ** 20
