import { readFile } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { fileFailure } from "../failure.ts"
import { pathOf } from "../files.ts"
import { type HomeOptions, homePaths, makeHome, openHome, parseRootKey } from "../home.ts"
import { askPassphrase, passphraseFromFile } from "../passphrase.ts"

type Options = HomeOptions & { passphrase?: true; rootKeyFile?: string; json?: true }

export async function init(options: Options): Promise<void> {
  const paths = homePaths(options)
  const withPassphrase = options.passphrase || options.passphraseFile !== undefined
  if (withPassphrase && options.rootKeyFile !== undefined) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a home has a passphrase or a root key file, not both")
  }
  const made = await makeHome(paths, {
    ...(withPassphrase && {
      passphrase: (await passphraseFromFile(options.passphraseFile)) ?? (await askPassphrase("new")),
    }),
    ...(options.rootKeyFile !== undefined && { rootKey: await readKey(options.rootKeyFile) }),
  })
  if (!made) {
    throw new KeyfoldError("INVALID_ARGUMENT", `there is a keyfold home at ${paths.folder} already`)
  }
  await (await openHome(options)).close()
  if (options.json)
    console.log(JSON.stringify({ home: paths.folder, root: withPassphrase ? "passphrase" : "key" }))
  else {
    const root = withPassphrase ? "Its passphrase opens it" : `Its root key is ${paths.rootKey}`
    console.log(
      `Made the home ${paths.folder}.\n${root}: keep a copy elsewhere, for without it every KEK is lost.`,
    )
  }
}

async function readKey(path: string): Promise<Uint8Array> {
  const text = await readFile(pathOf(path), "utf8").catch((error: unknown) => {
    throw fileFailure("cannot read the root key file", error)
  })
  return parseRootKey(text)
}
