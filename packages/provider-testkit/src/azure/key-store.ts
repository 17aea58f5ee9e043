import { createSecretKey, generateKeyPairSync, type KeyObject, randomBytes } from "node:crypto"
import { AzureError, badParameter, keyNotFound } from "./azure-error.ts"

/** A vault or a Managed HSM of the emulator. */
export type AzureService = {
  readonly kind: "vault" | "hsm"
  readonly name: string
  /** Without a slash at its end. */
  readonly url: string
  /** What tokens for it are issued for. */
  readonly resource: string
  /** Whether a deleted key stays until its date, whoever wants it gone. */
  readonly purgeProtection: boolean
}

export type AzureKeyType = "RSA" | "RSA-HSM" | "EC" | "EC-HSM" | "oct-HSM"

/** Times in seconds since 1970, as on the wire. */
export type KeyAttributes = {
  readonly enabled: boolean
  readonly nbf?: number
  readonly exp?: number
}

export type KeyVersion = {
  /** With the version. */
  readonly kid: string
  readonly kty: AzureKeyType
  readonly material: KeyMaterial
  /** Of its vault, in Azure's words. */
  readonly recoveryLevel: "Recoverable" | "Recoverable+Purgeable"
  readonly createdAt: number
  updatedAt: number
  keyOps: readonly string[]
  attributes: KeyAttributes
  tags: Readonly<Record<string, string>>
}

/** What only the emulator's process holds, but for the public half. */
export type KeyMaterial = { readonly secret: KeyObject; readonly publicJwk: PublicJwk }

/** The members of a JSON Web Key that the type of a key has (RFC 7518 §6). */
export type PublicJwk = Readonly<Partial<Record<"n" | "e" | "crv" | "x" | "y", string>>>

export type AzureKey = {
  readonly name: string
  /** Oldest first; never empty. */
  readonly versions: KeyVersion[]
  /** Undefined unless it is deleted and can still be recovered. */
  deletedAt: number | undefined
}

export type CreateKeyOptions = {
  readonly kty: AzureKeyType
  /** 2,048, 3,072 or 4,096 for RSA, 256 for a symmetric key. */
  readonly bits?: number
  readonly keyOps?: readonly string[]
  readonly attributes?: Partial<KeyAttributes>
  readonly tags?: Readonly<Record<string, string>>
}

/** The keys of one vault or Managed HSM. */
export class KeyStore {
  readonly service: AzureService
  /** By name in lower case. */
  readonly #keys = new Map<string, AzureKey>()

  constructor(service: AzureService) {
    this.service = service
  }

  /** Those that are not deleted. */
  list(): AzureKey[] {
    return [...this.#keys.values()].filter((key) => key.deletedAt === undefined)
  }

  listDeleted(): AzureKey[] {
    return [...this.#keys.values()].filter((key) => key.deletedAt !== undefined)
  }

  /**
   * Makes a key, or a new version of one.
   * @throws AzureError where its name is taken by a deleted key, or the service has no such keys
   */
  create(name: string, options: CreateKeyOptions): KeyVersion {
    if (!NAME.test(name)) throw badParameter(`The request URI contains an invalid name: ${name}`)
    if (!KEY_TYPES[this.service.kind].includes(options.kty)) {
      throw badParameter(`Key type ${options.kty} is not supported.`)
    }
    const key: AzureKey = this.#keys.get(name.toLowerCase()) ?? { name, versions: [], deletedAt: undefined }
    if (key.deletedAt !== undefined) {
      throw new AzureError(
        409,
        "Conflict",
        `Key ${name} is currently in a deleted but recoverable state, and its name cannot be reused; in this state, ` +
          "the key can only be recovered or purged.",
        "ObjectIsDeletedButRecoverable",
      )
    }
    const now = nowSeconds()
    const version: KeyVersion = {
      kid: `${this.service.url}/keys/${key.name}/${randomBytes(16).toString("hex")}`,
      kty: options.kty,
      material: newMaterial(options.kty, options.bits),
      recoveryLevel: this.service.purgeProtection ? "Recoverable" : "Recoverable+Purgeable",
      createdAt: now,
      updatedAt: now,
      keyOps: options.keyOps ?? KEY_OPS[options.kty],
      attributes: { enabled: true, ...options.attributes },
      tags: options.tags ?? {},
    }
    key.versions.push(version)
    this.#keys.set(name.toLowerCase(), key)
    return version
  }

  /** @throws AzureError `KeyNotFound`, for a deleted key too */
  find(name: string): AzureKey {
    const key = this.#keys.get(name.toLowerCase())
    if (key === undefined || key.deletedAt !== undefined) throw keyNotFound(name)
    return key
  }

  /**
   * The version asked for, the latest one where that is `""`.
   * @throws AzureError `KeyNotFound`
   */
  findVersion(name: string, version: string): KeyVersion {
    const { versions } = this.find(name)
    const found = version === "" ? versions.at(-1) : versions.find(({ kid }) => kid.endsWith(`/${version}`))
    if (found === undefined) throw keyNotFound(`${name}/${version}`)
    return found
  }

  /** @throws AzureError `KeyNotFound` where no deleted key has that name */
  findDeleted(name: string): AzureKey {
    const key = this.#keys.get(name.toLowerCase())
    if (key?.deletedAt === undefined) throw keyNotFound(name)
    return key
  }

  purge(name: string): void {
    this.#keys.delete(this.findDeleted(name).name.toLowerCase())
  }
}

export function nowSeconds(): number {
  return Math.floor(Date.now() / 1000)
}

function newMaterial(kty: AzureKeyType, bits = kty === "oct-HSM" ? 256 : 2048): KeyMaterial {
  if (kty === "oct-HSM") {
    if (bits !== 256) throw badParameter("The emulator's symmetric keys have 256 bits.")
    const bytes = randomBytes(32)
    const secret = createSecretKey(bytes)
    bytes.fill(0)
    return { secret, publicJwk: {} }
  }
  if (kty.startsWith("RSA") && ![2048, 3072, 4096].includes(bits)) throw badParameter("Invalid key size.")
  const { privateKey, publicKey } = kty.startsWith("RSA")
    ? generateKeyPairSync("rsa", { modulusLength: bits })
    : generateKeyPairSync("ec", { namedCurve: "P-256" })
  return { secret: privateKey, publicJwk: publicKey.export({ format: "jwk" }) as PublicJwk }
}

const NAME = /^[0-9a-zA-Z-]{1,127}$/
const KEY_TYPES: Readonly<Record<AzureService["kind"], readonly AzureKeyType[]>> = {
  vault: ["RSA", "RSA-HSM", "EC", "EC-HSM"],
  hsm: ["RSA-HSM", "EC-HSM", "oct-HSM"],
}
const RSA_OPS = ["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"]
const KEY_OPS: Readonly<Record<AzureKeyType, readonly string[]>> = {
  RSA: RSA_OPS,
  "RSA-HSM": RSA_OPS,
  EC: ["sign", "verify"],
  "EC-HSM": ["sign", "verify"],
  "oct-HSM": ["encrypt", "decrypt", "wrapKey", "unwrapKey"],
}
