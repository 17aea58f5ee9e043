import { isUtf8 } from "node:buffer"
import { type FailureDetails, type Keyfold, KeyfoldError } from "@keyfold/core"
import type { Slot } from "./slots-file.ts"

/** A slot still to be filled, or to be found. */
export type SlotId = Pick<Slot, "name" | "context">

/** Encrypts a value, UTF-8, for one name in one context. @throws KeyfoldError `INVALID_ARGUMENT` where no environment can hold it */
export async function sealSlot(keyfold: Keyfold, id: SlotId, value: Uint8Array): Promise<Slot> {
  const fault = faultOf(value)
  if (fault !== undefined) throw new KeyfoldError("INVALID_ARGUMENT", `the value of ${id.name} ${fault}`)
  const envelope = await keyfold.encrypt(value, {
    context: id.context,
    aad: boundTo(id),
    output: "base64url",
  })
  return { name: id.name, context: id.context, envelope }
}

/** The value of each slot, in their order, or all of nothing. @throws KeyfoldError of the first that does not open, which it names */
export async function openSlots(keyfold: Keyfold, slots: readonly Slot[]): Promise<readonly string[]> {
  const results = await keyfold.decryptMany(
    slots.map((slot) => ({ envelope: slot.envelope, context: slot.context, aad: boundTo(slot) })),
  )
  try {
    return results.map((result, i) => {
      const { name } = slots[i] as Slot
      if (!result.ok) throw doesNotOpen(name, result.error)
      const fault = faultOf(result.value.plaintext)
      if (fault !== undefined) throw new KeyfoldError("STORE_CORRUPT", `the value of ${name} ${fault}`)
      return new TextDecoder("utf-8", { ignoreBOM: true }).decode(result.value.plaintext)
    })
  } finally {
    for (const result of results) if (result.ok) result.value.plaintext.fill(0)
  }
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

/** So that the ciphertext of one slot opens under no other name. */
function boundTo({ name }: SlotId): Uint8Array {
  return new TextEncoder().encode(`keyfold/cli/slot ${JSON.stringify([name])}`)
}

function doesNotOpen(name: string, error: KeyfoldError): KeyfoldError {
  return new KeyfoldError(error.code, `the slot ${name} does not open: ${error.message}`, {
    ...(error as FailureDetails),
    cause: error,
  })
}
