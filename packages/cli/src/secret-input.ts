import { isatty } from "node:tty"
import { KeyfoldError } from "@keyfold/core"
import { askSilently } from "./ask.ts"
import { matchText } from "./bindings.ts"
import { openInput } from "./files.ts"
import { MAX_VALUE_BYTES } from "./slots.ts"
import type { SlotId } from "./slots-file.ts"
import { readAll } from "./streams.ts"

/** A value from standard input, without its line end, or asked for on the terminal. Wipe it. */
export async function readValue(name: string): Promise<Uint8Array> {
  if (isatty(0)) return new TextEncoder().encode(await askSilently(`Value of ${name} (not shown): `))
  const { stream } = await openInput(undefined, undefined)
  const bytes = await readAll(stream, MAX_VALUE_BYTES + LINE_END_BYTES, () => {
    return new KeyfoldError(
      "INVALID_ARGUMENT",
      `the value of ${name} is longer than ${MAX_VALUE_BYTES} bytes`,
    )
  })
  return withoutLineEnd(bytes)
}

/** Values of one line each: the lines of standard input, or asked for on the terminal one by one. */
export async function readLines(ids: readonly SlotId[]): Promise<readonly string[]> {
  if (isatty(0)) {
    const typed: string[] = []
    for (const { name, context } of ids) {
      typed.push(await askSilently(`Value of ${name} for ${matchText(context)} (not shown): `))
    }
    return typed
  }
  const wrong = () => {
    const order = ids.map(({ name }) => name).join(", then ")
    return new KeyfoldError("INVALID_ARGUMENT", `give one line each on standard input: ${order}`)
  }
  const { stream } = await openInput(undefined, undefined)
  const bytes = await readAll(stream, ids.length * (MAX_VALUE_BYTES + LINE_END_BYTES), wrong)
  const lines = new TextDecoder().decode(withoutLineEnd(bytes)).split(/\r?\n/)
  bytes.fill(0)
  if (lines.length !== ids.length) throw wrong()
  return lines
}

/** One line end, as a passphrase file's: `echo` adds it, and a variable that ended with one would surprise. */
function withoutLineEnd(bytes: Uint8Array): Uint8Array {
  const end = bytes.at(-1) !== LF ? bytes.length : bytes.at(-2) === CR ? bytes.length - 2 : bytes.length - 1
  return bytes.subarray(0, end)
}

const LINE_END_BYTES = 2
const LF = 0x0a
const CR = 0x0d
