import { rm } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { acceptNewRootKey, type HomeOptions, withHome, writeNewRootKey } from "../home.ts"
import { askPassphrase, passphraseFromFile } from "../passphrase.ts"

type Options = HomeOptions & { newPassphraseFile?: string; json?: true }

export async function rotate(options: Options): Promise<void> {
  await withHome(options, async ({ paths, managed }) => {
    const key = await writeNewRootKey(paths)
    await managed.changeRoot({ key })
    await acceptNewRootKey(paths)
    report(
      options,
      "key",
      `The root key ${paths.rootKey} is new: keep a copy of it, and destroy copies of the old one.`,
    )
  })
}

export async function passphrase(options: Options): Promise<void> {
  await withHome(options, async ({ paths, managed }) => {
    const passphrase =
      options.newPassphraseFile === undefined
        ? await askPassphrase("new")
        : await passphraseFromFile(options.newPassphraseFile)
    if (!passphrase) throw new KeyfoldError("INVALID_ARGUMENT", "a passphrase must not be empty")
    await managed.changeRoot({ passphrase })
    // It opens nothing any more.
    await rm(paths.rootKey, { force: true })
    report(options, "passphrase", "The passphrase opens this home from now on.")
  })
}

function report({ json }: Options, root: "key" | "passphrase", text: string): void {
  console.log(json ? JSON.stringify({ root }) : text)
}
