import { fillRandom, hmacSha256, importKey, open, sealInto } from "@keyfold/core/crypto"
import type { KekRow } from "./kek-store.ts"

/**
 * Encrypts bytes under a long-lived key: salt 16 ‖ IV 12 ‖ ciphertext ‖ tag 16. Each call derives a subkey from a
 * fresh salt (SP 800-108, counter mode), so that no number of rows wears the key out.
 */
export function seal(key: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const sealed = new Uint8Array(28 + plaintext.length + 16)
  fillRandom(sealed.subarray(0, 28))
  const subkey = subkeyOf(key, sealed.subarray(0, 16))
  sealInto(importKey(subkey), sealed.subarray(16, 28), aad, plaintext, sealed, 28)
  subkey.fill(0)
  return sealed
}

/** Opens what `seal` made; undefined where key, additional data or bytes are not the same. */
export function unseal(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
  if (sealed.length < 44) return undefined
  const subkey = subkeyOf(key, sealed.subarray(0, 16))
  const plaintext = open(importKey(subkey), sealed.subarray(16, 28), aad, sealed.subarray(28))
  subkey.fill(0)
  return plaintext
}

/** What ties a sealed KEK to its row: everything of it but usage. */
export function rowAad(environment: string, row: Omit<KekRow, "sealed">): Uint8Array {
  const { keyId, index, current, version, state, closed, createdAt, rotatedAt, deletionAt, change } = row
  return fields("keyfold/kek-row/v1", [
    environment,
    ...[keyId, index, current, version, state, closed, createdAt, rotatedAt, deletionAt, change].map(String),
  ])
}

/** A label and fields, each with its length before it. */
export function fields(label: string, values: readonly string[]): Uint8Array {
  return utf8.encode(label + values.map((value) => `\n${utf8.encode(value).length}:${value}`).join(""))
}

function subkeyOf(key: Uint8Array, salt: Uint8Array): Uint8Array {
  const input = new Uint8Array(4 + LABEL.length + 1 + 16 + 4)
  const view = new DataView(input.buffer)
  view.setUint32(0, 1)
  input.set(LABEL, 4)
  input.set(salt, 4 + LABEL.length + 1)
  view.setUint32(input.length - 4, 256)
  return hmacSha256(importKey(key), input)
}

const utf8 = new TextEncoder()
const LABEL = utf8.encode("keyfold/kek-store/v1")
