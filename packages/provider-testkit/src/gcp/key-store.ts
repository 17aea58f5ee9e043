import { fillRandom, importLongLivedKey, open, type SecretKey, sealInto } from "@keyfold/core/crypto"
import { RpcError } from "./rpc-error.ts"

/** The states of a key version (`CryptoKeyVersion.CryptoKeyVersionState`). */
export type GcpVersionState =
  | "PENDING_GENERATION"
  | "ENABLED"
  | "DISABLED"
  | "DESTROYED"
  | "DESTROY_SCHEDULED"
  | "PENDING_IMPORT"
  | "IMPORT_FAILED"
  | "GENERATION_FAILED"
  | "PENDING_EXTERNAL_DESTRUCTION"
  | "EXTERNAL_DESTRUCTION_FAILED"

export type GcpProtectionLevel = "SOFTWARE" | "HSM"

export type KeyVersion = {
  readonly name: string
  readonly number: number
  readonly createTime: Date
  state: GcpVersionState
  /** When the material goes, for a version that is scheduled for destruction. */
  destroyTime: Date | undefined
  /** When it went. */
  destroyEventTime: Date | undefined
  /** Held here and nowhere else; undefined once destroyed. */
  material: SecretKey | undefined
}

export type CryptoKey = {
  readonly name: string
  readonly purpose: string
  readonly protectionLevel: GcpProtectionLevel
  readonly createTime: Date
  labels: Readonly<Record<string, string>>
  rotationPeriodSeconds: number | undefined
  readonly versions: KeyVersion[]
  primary: KeyVersion | undefined
}

/** The key rings, keys and versions of the emulated cloud, and the cryptography under them. */
export class KeyStore {
  readonly rings = new Map<string, Date>()
  readonly keys = new Map<string, CryptoKey>()

  createRing(name: string): Date {
    if (!RING_NAME.test(name)) throw invalidName(name)
    if (this.rings.has(name)) throw new RpcError("ALREADY_EXISTS", `KeyRing ${name} already exists.`)
    const createTime = new Date()
    this.rings.set(name, createTime)
    return createTime
  }

  createKey(name: string, options: KeyOptions): CryptoKey {
    if (!KEY_NAME.test(name)) throw invalidName(name)
    const ring = name.slice(0, name.lastIndexOf("/cryptoKeys/"))
    if (!this.rings.has(ring)) throw new RpcError("NOT_FOUND", `KeyRing ${ring} not found.`)
    if (this.keys.has(name)) throw new RpcError("ALREADY_EXISTS", `CryptoKey ${name} already exists.`)
    const key: CryptoKey = {
      name,
      purpose: options.purpose,
      protectionLevel: options.protectionLevel,
      createTime: new Date(),
      labels: options.labels ?? {},
      rotationPeriodSeconds: options.rotationPeriodSeconds,
      versions: [],
      primary: undefined,
    }
    this.keys.set(name, key)
    if (!options.withoutVersion) {
      const first = this.createVersion(key)
      if (key.purpose === SYMMETRIC) key.primary = first
    }
    return key
  }

  /** A new version; it is not the primary one until it is made so. */
  createVersion(key: CryptoKey): KeyVersion {
    const bytes = new Uint8Array(KEY_BYTES)
    fillRandom(bytes)
    const number = key.versions.length + 1
    const version: KeyVersion = {
      name: `${key.name}/cryptoKeyVersions/${number}`,
      number,
      createTime: new Date(),
      state: "ENABLED",
      destroyTime: undefined,
      destroyEventTime: undefined,
      material: importLongLivedKey(bytes),
    }
    bytes.fill(0)
    key.versions.push(version)
    return version
  }

  key(name: string): CryptoKey {
    const key = this.keys.get(name)
    if (key === undefined) throw new RpcError("NOT_FOUND", `CryptoKey ${name} not found.`)
    return key
  }

  version(name: string): { readonly key: CryptoKey; readonly version: KeyVersion } {
    const at = name.lastIndexOf("/cryptoKeyVersions/")
    const key = this.key(name.slice(0, Math.max(at, 0)))
    const version = key.versions.find((candidate) => candidate.name === name)
    if (version === undefined) throw new RpcError("NOT_FOUND", `CryptoKeyVersion ${name} not found.`)
    return { key, version }
  }

  /** Sets a state as the cloud would reach it by itself; `DESTROYED` forgets the material, for good. */
  setState(version: KeyVersion, state: GcpVersionState): void {
    if (version.state === "DESTROYED") {
      throw new RpcError("FAILED_PRECONDITION", `${version.name} is DESTROYED.`)
    }
    version.state = state
    version.destroyTime = state === "DESTROY_SCHEDULED" ? new Date(Date.now() + DESTROY_AFTER_MS) : undefined
    if (state === "DESTROYED") {
      version.destroyEventTime = new Date()
      version.material = undefined
    }
  }
}

export type KeyOptions = {
  readonly purpose: string
  readonly protectionLevel: GcpProtectionLevel
  readonly labels?: Readonly<Record<string, string>> | undefined
  readonly rotationPeriodSeconds?: number | undefined
  readonly withoutVersion?: boolean
}

/** Encrypts under one version: `u32 version ‖ IV(12) ‖ ciphertext ‖ tag(16)`, AES-256-GCM. */
export function encryptUnder(
  key: CryptoKey,
  version: KeyVersion,
  plaintext: Uint8Array,
  additionalData: Uint8Array,
): Uint8Array {
  checkSizes(key, plaintext, additionalData)
  const material = usable(version)
  const out = new Uint8Array(HEADER_BYTES + plaintext.length + TAG_BYTES)
  new DataView(out.buffer).setUint32(0, version.number)
  fillRandom(out.subarray(VERSION_BYTES, HEADER_BYTES))
  sealInto(material, out.subarray(VERSION_BYTES, HEADER_BYTES), additionalData, plaintext, out, HEADER_BYTES)
  return out
}

/** Decrypts under the version that the ciphertext names, as long as that version is enabled. */
export function decryptUnder(
  key: CryptoKey,
  ciphertext: Uint8Array,
  additionalData: Uint8Array,
): { readonly version: KeyVersion; readonly plaintext: Uint8Array } {
  if (ciphertext.length < HEADER_BYTES + TAG_BYTES) throw undecryptable()
  const number = new DataView(ciphertext.buffer, ciphertext.byteOffset).getUint32(0)
  const version = key.versions.find((candidate) => candidate.number === number)
  if (version === undefined) throw undecryptable()
  const iv = ciphertext.subarray(VERSION_BYTES, HEADER_BYTES)
  const plaintext = open(usable(version), iv, additionalData, ciphertext.subarray(HEADER_BYTES))
  if (plaintext === undefined) throw undecryptable()
  return { version, plaintext }
}

function usable(version: KeyVersion): SecretKey {
  if (version.state !== "ENABLED" || version.material === undefined) {
    throw new RpcError(
      "FAILED_PRECONDITION",
      `${version.name} is not enabled, current state is: ${version.state}.`,
    )
  }
  return version.material
}

/** The limits of `EncryptRequest` in the SDK's service.proto. */
function checkSizes(key: CryptoKey, plaintext: Uint8Array, additionalData: Uint8Array): void {
  const tooLong =
    key.protectionLevel === "HSM"
      ? plaintext.length + additionalData.length > HSM_MAX_BYTES
      : plaintext.length > SOFTWARE_MAX_BYTES || additionalData.length > SOFTWARE_MAX_BYTES
  if (tooLong) {
    throw new RpcError("INVALID_ARGUMENT", "The plaintext and additional authenticated data are too long.")
  }
}

function undecryptable(): RpcError {
  return new RpcError(
    "INVALID_ARGUMENT",
    "Decryption failed: verify that 'name' refers to the correct CryptoKey.",
  )
}

function invalidName(name: string): RpcError {
  return new RpcError("INVALID_ARGUMENT", `Resource name [${name}] is invalid.`)
}

export const SYMMETRIC = "ENCRYPT_DECRYPT"
const KEY_BYTES = 32
const VERSION_BYTES = 4
const HEADER_BYTES = VERSION_BYTES + 12
const TAG_BYTES = 16
const SOFTWARE_MAX_BYTES = 64 * 1024
const HSM_MAX_BYTES = 8 * 1024
/** The default of `CryptoKey.destroy_scheduled_duration`: 30 days. */
const DESTROY_AFTER_MS = 30 * 24 * 60 * 60 * 1000
const RING_NAME = /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[A-Za-z0-9_-]{1,63}$/
const KEY_NAME = /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+\/cryptoKeys\/[A-Za-z0-9_-]{1,63}$/
