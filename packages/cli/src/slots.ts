import { isUtf8 } from "node:buffer"
import { type FailureDetails, type Keyfold, KeyfoldError, type Result } from "@keyfold/core"
import type { Slot } from "./slots-file.ts"

/** Encrypts a value, UTF-8, for one name in one context. @throws KeyfoldError `INVALID_ARGUMENT` where no environment can hold it */
export async function sealSlot(
  keyfold: Keyfold,
  slot: Omit<Slot, "envelope">,
  value: Uint8Array,
): Promise<Slot> {
  const fault = faultOf(value)
  if (fault !== undefined) throw new KeyfoldError("INVALID_ARGUMENT", `the value of ${slot.name} ${fault}`)
  const how = { context: slot.context, aad: boundTo(slot), output: "base64url" } as const
  return { ...slot, envelope: await keyfold.encrypt(value, how) }
}

/** The value of each slot, in their order, or all of nothing. @throws KeyfoldError of the first that does not open, which it names */
export async function openSlots(keyfold: Keyfold, slots: readonly Slot[]): Promise<readonly string[]> {
  return (await tryOpenSlots(keyfold, slots)).map((result) => {
    if (result.ok) return result.value
    throw result.error
  })
}

/** What became of each slot. */
export async function tryOpenSlots(
  keyfold: Keyfold,
  slots: readonly Slot[],
): Promise<readonly Result<string>[]> {
  const results = await keyfold.decryptMany(
    slots.map((slot) => ({ envelope: slot.envelope, context: slot.context, aad: boundTo(slot) })),
  )
  return results.map((result, i) => {
    const { name } = slots[i] as Slot
    if (!result.ok) return { ok: false, error: doesNotOpen(name, result.error) }
    const { plaintext } = result.value
    const fault = faultOf(plaintext)
    const value = new TextDecoder("utf-8", { ignoreBOM: true }).decode(plaintext)
    plaintext.fill(0)
    if (fault === undefined) return { ok: true, value }
    return { ok: false, error: new KeyfoldError("STORE_CORRUPT", `the value of ${name} ${fault}`) }
  })
}

/** The longest value, in bytes: Linux takes no variable beyond 128 KiB (execve(2), MAX_ARG_STRLEN). */
export const MAX_VALUE_BYTES = 65_536

/** What keeps a value from being a variable's, without a word of it. */
function faultOf(value: Uint8Array): string | undefined {
  if (value.length === 0) return "is empty"
  if (value.length > MAX_VALUE_BYTES) return `is longer than ${MAX_VALUE_BYTES} bytes`
  if (!isUtf8(value) || value.includes(0)) return "is not text: environment variables hold UTF-8 without NUL"
  return undefined
}

/** So that one slot's ciphertext opens under no other name, and no key is sent to another host. */
function boundTo({ name, host }: Omit<Slot, "envelope">): Uint8Array {
  const bound = host === undefined ? [name] : [name, "workos", host]
  return new TextEncoder().encode(`keyfold/cli/slot ${JSON.stringify(bound)}`)
}

function doesNotOpen(name: string, error: KeyfoldError): KeyfoldError {
  return new KeyfoldError(error.code, `the slot ${name} does not open: ${error.message}`, {
    ...(error as FailureDetails),
    cause: error,
  })
}
