import { readFile } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { askSilently } from "./ask.ts"
import { fileFailure } from "./failure.ts"
import { pathOf } from "./files.ts"

/** The passphrase that a file holds, without its line end; undefined where none is named. */
export async function passphraseFromFile(path: string | undefined): Promise<string | undefined> {
  const file = path ?? process.env.KEYFOLD_PASSPHRASE_FILE
  if (!file) return undefined
  const text = await readFile(pathOf(file), "utf8").catch((error: unknown) => {
    throw fileFailure("cannot read the passphrase file", error)
  })
  const passphrase = text.replace(/\r?\n$/, "")
  if (passphrase === "") throw new KeyfoldError("INVALID_ARGUMENT", "the passphrase file is empty")
  return passphrase
}

/** Asks on the terminal, without showing what is typed; twice for a new one. */
export async function askPassphrase(kind: "current" | "new"): Promise<string> {
  if (!process.stdin.isTTY) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "a passphrase is needed and there is no terminal to ask on: name a file with --passphrase-file or $KEYFOLD_PASSPHRASE_FILE",
    )
  }
  const first = await askSilently(kind === "new" ? "New passphrase: " : "Passphrase: ")
  if (kind === "new" && first !== (await askSilently("The same again: "))) {
    throw new KeyfoldError("INVALID_ARGUMENT", "the two passphrases differ")
  }
  return first
}
