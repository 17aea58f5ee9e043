import { KeyfoldError, type Policy } from "@keyfold/core"
import { aadOf, contextOf } from "../context.ts"
import { openInput, writeOutput } from "../files.ts"
import { type HomeOptions, makeMissingHome, withHome } from "../home.ts"
import { readAll } from "../streams.ts"

type Options = HomeOptions & {
  context: string[]
  input?: string
  output?: string
  aad?: string
  policy: Policy
  embedContext?: true
  text?: true
  json?: true
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
  await makeMissingHome(options)
  await withHome(options, async ({ keyfold }) => {
    if (options.text) {
      const text = await keyfold.encrypt(await readAll(stream, MAX_TEXT_PLAINTEXT, tooLong), {
        ...how,
        output: "base64url",
      })
      await writeOutput(options.output, new Blob([`${text}\n`]).stream())
    } else {
      await writeOutput(options.output, await keyfold.encryptStream(stream, how))
    }
  })
}

function tooLong(): KeyfoldError {
  return new KeyfoldError(
    "INVALID_ARGUMENT",
    `--text takes at most ${MAX_TEXT_PLAINTEXT} bytes: leave it out`,
  )
}

/** Its text form stays below the format's 256 MiB, in bytes. */
const MAX_TEXT_PLAINTEXT = 190 * 2 ** 20
