import { existsSync } from "node:fs"
import { readFile } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { fileFailure } from "../failure.ts"
import { pathOf } from "../files.ts"
import { type HomeOptions, type HomeRoot, homePaths, makeHome } from "../home.ts"
import { parsePostgres } from "../home-config.ts"
import { askPassphrase, passphraseFromFile } from "../passphrase.ts"
import { parseRootKey } from "../root-key-files.ts"

type Options = HomeOptions & { passphrase?: true; rootKeyFile?: string; postgres?: string; json?: true }

export async function init(options: Options): Promise<void> {
  const paths = homePaths(options)
  const explicit = options.passphrase || options.passphraseFile !== undefined
  if (explicit && options.rootKeyFile !== undefined) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a home has a passphrase or a root key file, not both")
  }
  if (existsSync(paths.config)) throw thereIsOne(paths.folder)
  const postgres = options.postgres === undefined ? undefined : parsePostgres(options.postgres)
  const root = await rootOf(options)
  if (!(await makeHome(paths, root, postgres))) throw thereIsOne(paths.folder)
  if (options.json)
    console.log(JSON.stringify({ home: paths.folder, root: "passphrase" in root ? "passphrase" : "key" }))
  else {
    const opener = "passphrase" in root ? "Its passphrase opens it" : `Its root key is ${paths.rootKey}`
    console.log(
      `Made the home ${paths.folder}.\n${opener}: keep a copy elsewhere, for without it every KEK is lost.`,
    )
  }
}

async function rootOf({ rootKeyFile, passphraseFile, passphrase }: Options): Promise<HomeRoot> {
  if (rootKeyFile !== undefined) return { rootKey: await readKey(rootKeyFile) }
  const given = await passphraseFromFile(passphraseFile)
  if (given !== undefined) return { passphrase: given }
  return passphrase ? { passphrase: await askPassphrase("new") } : {}
}

function thereIsOne(folder: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", `there is a keyfold home at ${folder} already`)
}

async function readKey(path: string): Promise<Uint8Array> {
  const text = await readFile(pathOf(path), "utf8").catch((error: unknown) => {
    throw fileFailure("cannot read the root key file", error)
  })
  return parseRootKey(text)
}
