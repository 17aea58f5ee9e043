import { rm } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { type HomeOptions, withLockedHome } from "../home.ts"
import { askPassphrase, passphraseFromFile } from "../passphrase.ts"
import { settleRootKey, writeNewRootKey } from "../root-key-files.ts"

type Options = HomeOptions & { newPassphraseFile?: string; json?: true }

/** Whatever ends this in the middle, one of the two files opens the store, and the next command finds it. */
export async function rotate(options: Options): Promise<void> {
  await withLockedHome(options, async ({ paths, managed }) => {
    const key = await writeNewRootKey(paths)
    await managed.changeRoot({ key })
    await settleRootKey(paths, paths.newRootKey)
    report(
      options,
      "key",
      `The root key ${paths.rootKey} is new: keep a copy of it, and destroy copies of the old one.`,
    )
  })
}

export async function passphrase(options: Options): Promise<void> {
  await withLockedHome(options, async ({ paths, managed }) => {
    const passphrase = (await passphraseFromNewFile(options)) ?? (await askPassphrase("new"))
    await managed.changeRoot({ passphrase })
    // It opens nothing any more.
    await rm(paths.rootKey, { force: true })
    report(options, "passphrase", "The passphrase opens this home from now on.")
  })
}

/** The current passphrase may be named in the environment, which must not be taken for the new one. */
async function passphraseFromNewFile({ newPassphraseFile }: Options): Promise<string | undefined> {
  if (newPassphraseFile === "")
    throw new KeyfoldError("INVALID_ARGUMENT", "--new-passphrase-file names no file")
  return newPassphraseFile === undefined ? undefined : passphraseFromFile(newPassphraseFile)
}

function report({ json }: Options, root: "key" | "passphrase", text: string): void {
  console.log(json ? JSON.stringify({ root }) : text)
}
