import { scrypt } from "node:crypto"
import { promisify } from "node:util"
import { type Kek, type KekCallOptions, KeyfoldError, scopedBinding } from "@keyfold/core"
import { fillRandom } from "@keyfold/core/crypto"

/** What opens a store: 32 bytes, a passphrase, or another KEK that holds a random root key (auto-unseal). */
export type RootKey =
  | { readonly key: Uint8Array }
  | { readonly passphrase: string | Uint8Array }
  | { readonly kek: Kek }

/** How a stored root key is had again; public. */
export type RootRecord =
  | { readonly kind: "key" }
  | {
      readonly kind: "scrypt"
      readonly salt: string
      readonly n: number
      readonly r: number
      readonly p: number
    }
  | {
      readonly kind: "kek"
      readonly providerId: string
      readonly keyId: string
      readonly keyVersion: number
      readonly leased: boolean
      readonly salt: string
      readonly wrapped: string
    }

/** A new root key with its record. @throws KeyfoldError `INVALID_ARGUMENT`, or what the KEK fails with */
export async function newRootKey(
  root: RootKey,
  environment: string,
): Promise<{ key: Uint8Array; record: RootRecord }> {
  checkRoot(root)
  if ("key" in root) return { key: Uint8Array.from(root.key), record: { kind: "key" } }
  const salt = new Uint8Array(16)
  fillRandom(salt)
  if ("passphrase" in root) {
    const record = { kind: "scrypt", salt: hex(salt), ...SCRYPT } as const
    return { key: await stretch(root.passphrase, record), record }
  }
  const { kek } = root
  if ((await callKek(kek, (options) => kek.describe(options))).publicKey) {
    throw invalid("a public-key KEK cannot hold the root key: anyone with its public half could replace it")
  }
  const key = new Uint8Array(32)
  fillRandom(key)
  const { providerId, keyId } = kek
  const { keyVersion, leased, wrapped } = await callKek(kek, (options) =>
    kek.wrap(key, wrapContext(kek, salt, environment), options),
  )
  return {
    key,
    record: { kind: "kek", providerId, keyId, keyVersion, leased, salt: hex(salt), wrapped: hex(wrapped) },
  }
}

/** The root key of a record. @throws KeyfoldError `INVALID_ARGUMENT` where the kinds differ, or what the KEK fails with */
export async function openRootKey(
  root: RootKey,
  record: RootRecord,
  environment: string,
): Promise<Uint8Array> {
  checkRoot(root)
  if ("key" in root && record.kind === "key") return Uint8Array.from(root.key)
  if ("passphrase" in root && record.kind === "scrypt") return stretch(root.passphrase, record)
  if ("kek" in root && record.kind === "kek") {
    const { kek } = root
    if (kek.providerId !== record.providerId || kek.keyId !== record.keyId) {
      throw invalid(`this store is unsealed by the ${record.providerId} key ${record.keyId}: give that one`)
    }
    const { keyVersion, leased } = record
    const wrapped = { keyVersion, leased, wrapped: unhex(record.wrapped) }
    return await callKek(kek, (options) =>
      kek.unwrap(wrapped, wrapContext(kek, unhex(record.salt), environment), options),
    )
  }
  const wanted = { key: "a 32-byte root key", scrypt: "a passphrase", kek: "the KEK that unseals it" }[
    record.kind
  ]
  throw invalid(`this store is opened by ${wanted}: give that`)
}

/** Whether this can be the record of a root key, so that reading it needs no more care. */
export function isRootRecord(record: RootRecord): boolean {
  if (record.kind === "key") return true
  if (record.kind === "scrypt") return isHex(record.salt)
  return (
    record.kind === "kek" &&
    [record.salt, record.wrapped].every(isHex) &&
    [record.providerId, record.keyId].every((text) => typeof text === "string") &&
    Number.isInteger(record.keyVersion) &&
    typeof record.leased === "boolean"
  )
}

export function isHex(text: unknown): boolean {
  return typeof text === "string" && /^([0-9a-f]{2})+$/.test(text)
}

function checkRoot(root: RootKey): void {
  if (typeof root !== "object" || root === null) throw invalid(ROOTS)
  if ("key" in root) {
    if (!(root.key instanceof Uint8Array) || root.key.length !== 32) throw invalid("a root key is 32 bytes")
  } else if ("passphrase" in root) {
    const { passphrase } = root
    const known = typeof passphrase === "string" || passphrase instanceof Uint8Array
    if (!known || passphrase.length === 0) throw invalid("a passphrase is text or bytes, and not empty")
  } else if (typeof root.kek !== "object") {
    throw invalid(ROOTS)
  }
}

/** Calls the KEK that holds the root key, within bounds, and names what it fails with. */
async function callKek<T>(kek: Kek, call: (options: KekCallOptions) => T | Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(KEK_CALL_MS)
  try {
    return await call({ signal })
  } catch (error) {
    const code = signal.aborted ? "TIMEOUT" : kek.classify(error)
    const { providerId, keyId } = kek
    throw new KeyfoldError(
      code,
      `the ${providerId} key ${keyId}, which holds the root key, failed (${code}): ${
        error instanceof KeyfoldError ? error.message : "see the cause"
      }`,
      { providerId, keyId, cause: error },
    )
  }
}

function wrapContext(kek: Kek, salt: Uint8Array, environment: string) {
  const { providerId, keyId } = kek
  const binding = scopedBinding(
    { purpose: "rootKey", providerId, keyId, owner: "", environment, covered: [] },
    salt,
  )
  return { binding, covered: [], owner: "" }
}

async function stretch(
  passphrase: string | Uint8Array,
  { salt, n, r, p }: { salt: string; n: number; r: number; p: number },
): Promise<Uint8Array> {
  const whole = [n, r, p].every(Number.isInteger) && Number.isInteger(Math.log2(n))
  if (!whole || n < 2 ** 14 || n > 2 ** 20 || r < 1 || r > 16 || p < 1 || p > 4) {
    throw new KeyfoldError(
      "STORE_CORRUPT",
      "the store's scrypt parameters are out of range: restore a backup",
    )
  }
  const run = promisify<string | Uint8Array, Uint8Array, number, object, Buffer>(scrypt)
  return await run(passphrase, unhex(salt), 32, { N: n, r, p, maxmem: 256 * n * r })
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex")
}

function unhex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "hex"))
}

const ROOTS = "a root is one of { key }, { passphrase } or { kek }"
/** How long a call to the KEK that holds the root key may take, its retries included, in milliseconds. */
const KEK_CALL_MS = 30_000
/** 128 MiB and about a third of a second (OWASP's first choice for scrypt, RFC 7914). */
const SCRYPT = { n: 2 ** 17, r: 8, p: 1 }
