import { KeyfoldError, type Policy } from "@keyfold/core"
import { aadOf, contextOf } from "../context.ts"
import { openInput, writeOutput } from "../files.ts"
import { type HomeOptions, homePaths, makeHome, withHome } from "../home.ts"
import { passphraseFromFile } from "../passphrase.ts"
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

async function makeMissingHome(options: Options): Promise<void> {
  const paths = homePaths(options)
  const passphrase = await passphraseFromFile(options.passphraseFile)
  if (!(await makeHome(paths, { ...(passphrase !== undefined && { passphrase }) }))) return
  if (options.json) console.error(JSON.stringify({ home: paths.folder }))
  else {
    const root = passphrase === undefined ? "keep a copy of its root.key elsewhere" : "keep its passphrase"
    console.error(`made the home ${paths.folder}: ${root}, without it every KEK is lost`)
  }
}

function tooLong(): KeyfoldError {
  return new KeyfoldError(
    "INVALID_ARGUMENT",
    `--text takes at most ${MAX_TEXT_PLAINTEXT} bytes: leave it out`,
  )
}

/** Its text form stays below the format's 256 MiB, in bytes. */
const MAX_TEXT_PLAINTEXT = 190 * 2 ** 20
