import { createDecipheriv } from "node:crypto"
import { KeyfoldError } from "@keyfold/core"

export type OpenWorkosBlobOptions = {
  /**
   * Opens the sealed data key that a blob carries, 32 bytes: `vault.decryptDataKey`, or a call of WorkOS's. A blob can be
   * read in up to three ways, and is asked for each that is possible.
   */
  readonly decryptDataKey: (sealed: Uint8Array) => Promise<Uint8Array>
  /** What the SDK was given as associated data; an empty string counts as none. */
  readonly associatedData?: string
}

/**
 * Opens what the local `encrypt` of a WorkOS SDK wrote: base64, or its bytes. It knows the layout of the Node, Python, Ruby,
 * PHP and Kotlin SDKs, that of Go from version 7 on, and the older one with an IV of 32 bytes (Node before 7.50.1, Go
 * before 4.42.0).
 * @throws KeyfoldError `DECRYPTION_FAILED` where no reading opens; what `decryptDataKey` fails with otherwise
 */
export async function openWorkosBlob(
  blob: string | Uint8Array,
  { decryptDataKey, associatedData = "" }: OpenWorkosBlobOptions,
): Promise<Uint8Array> {
  const bytes = typeof blob === "string" ? new Uint8Array(Buffer.from(blob, "base64")) : blob
  let failure: unknown
  for (const { sealed, ...payload } of readingsOf(bytes)) {
    let key: Uint8Array
    try {
      key = await decryptDataKey(sealed)
    } catch (error) {
      failure ??= error
      continue
    }
    try {
      const plaintext = open(key, payload, associatedData)
      if (plaintext !== undefined) return plaintext
    } finally {
      key.fill(0)
    }
  }
  // A KMS that cannot be reached is no altered blob; a wrong reading fails with one of these two.
  const { code } = (failure ?? {}) as { code?: unknown }
  if (failure !== undefined && code !== "MALFORMED_ENVELOPE" && code !== "DECRYPTION_FAILED") throw failure
  throw new KeyfoldError("DECRYPTION_FAILED", "this is no blob of a WorkOS SDK, or it was altered")
}

type Payload = { readonly iv: Uint8Array; readonly tag: Uint8Array; readonly ciphertext: Uint8Array }
type Reading = Payload & { readonly sealed: Uint8Array }

/** Every way to read a blob, the most likely first. */
function readingsOf(bytes: Uint8Array): readonly Reading[] {
  const readings = [ivFirst(bytes, 12), keysFirst(bytes), ivFirst(bytes, 32)]
  return readings.filter((reading) => reading !== undefined)
}

/** IV ‖ tag 16 ‖ length of the keys ‖ keys ‖ ciphertext */
function ivFirst(bytes: Uint8Array, ivBytes: number): Reading | undefined {
  const start = ivBytes + TAG_BYTES
  const keys = readKeys(bytes, start)
  if (keys === undefined) return undefined
  return {
    iv: bytes.subarray(0, ivBytes),
    tag: bytes.subarray(ivBytes, start),
    sealed: keys.sealed,
    ciphertext: bytes.subarray(keys.end),
  }
}

/** length of the keys ‖ keys ‖ IV 12 ‖ ciphertext ‖ tag 16 */
function keysFirst(bytes: Uint8Array): Reading | undefined {
  const keys = readKeys(bytes, 0)
  if (keys === undefined || keys.end + 12 + TAG_BYTES > bytes.length) return undefined
  return {
    iv: bytes.subarray(keys.end, keys.end + 12),
    tag: bytes.subarray(-TAG_BYTES),
    sealed: keys.sealed,
    ciphertext: bytes.subarray(keys.end + 12, -TAG_BYTES),
  }
}

/** A length as unsigned LEB128 of at most 32 bits (DWARF 5, 7.6), and so many bytes. */
function readKeys(bytes: Uint8Array, start: number) {
  let length = 0
  for (let i = 0; i < 5; i++) {
    const byte = bytes[start + i]
    if (byte === undefined) return undefined
    length += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) {
      const at = start + i + 1
      const end = at + length
      return length === 0 || end > bytes.length ? undefined : { sealed: bytes.subarray(at, end), end }
    }
  }
  return undefined
}

function open(key: Uint8Array, { iv, tag, ciphertext }: Payload, associatedData: string) {
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, iv, { authTagLength: TAG_BYTES })
    decipher.setAuthTag(tag)
    if (associatedData !== "") decipher.setAAD(Buffer.from(associatedData, "utf8"))
    return new Uint8Array(Buffer.concat([decipher.update(ciphertext), decipher.final()]))
  } catch {
    return undefined
  }
}

const TAG_BYTES = 16
