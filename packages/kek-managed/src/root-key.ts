import { scrypt } from "node:crypto"
import { promisify } from "node:util"
import { type Kek, KeyfoldError, scopedBinding } from "@keyfold/core"
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
  if ("key" in root) return { key: root.key.slice(), record: { kind: "key" } }
  const salt = new Uint8Array(16)
  fillRandom(salt)
  if ("passphrase" in root) {
    const record = { kind: "scrypt", salt: hex(salt), ...SCRYPT } as const
    return { key: await stretch(root.passphrase, record), record }
  }
  const { kek } = root
  if ((await kek.describe({})).publicKey) {
    throw invalid("a public-key KEK cannot hold the root key: anyone with its public half could replace it")
  }
  const key = new Uint8Array(32)
  fillRandom(key)
  const { providerId, keyId } = kek
  const { keyVersion, leased, wrapped } = await kek.wrap(key, wrapContext(kek, salt, environment), {})
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
  if ("key" in root && record.kind === "key") return root.key.slice()
  if ("passphrase" in root && record.kind === "scrypt") return stretch(root.passphrase, record)
  if ("kek" in root && record.kind === "kek") {
    const { kek } = root
    if (kek.providerId !== record.providerId || kek.keyId !== record.keyId) {
      throw invalid(`this store is unsealed by the ${record.providerId} key ${record.keyId}: give that one`)
    }
    const { keyVersion, leased } = record
    const wrapped = { keyVersion, leased, wrapped: unhex(record.wrapped) }
    return await kek.unwrap(wrapped, wrapContext(kek, unhex(record.salt), environment), {})
  }
  const wanted = { key: "a 32-byte root key", scrypt: "a passphrase", kek: "the KEK that unseals it" }[
    record.kind
  ]
  throw invalid(`this store is opened by ${wanted}: give that`)
}

function checkRoot(root: RootKey): void {
  if ("key" in root) {
    if (!(root.key instanceof Uint8Array) || root.key.length !== 32) throw invalid("a root key is 32 bytes")
  } else if ("passphrase" in root) {
    if (root.passphrase.length === 0) throw invalid("a passphrase must not be empty")
  } else if (root.kek === undefined) {
    throw invalid("a root is one of { key }, { passphrase } or { kek }")
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
  if (![n, r, p].every(Number.isInteger) || n < 2 ** 14 || n > 2 ** 20 || r < 1 || r > 16 || p < 1 || p > 4) {
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

/** 128 MiB and about a third of a second (OWASP's first choice for scrypt, RFC 7914). */
const SCRYPT = { n: 2 ** 17, r: 8, p: 1 }
