import type { KeyManagementServiceClient } from "@google-cloud/kms"
import {
  type Kek,
  type KekCallOptions,
  type KekProvider,
  KeyfoldError,
  type WrapContext,
} from "@keyfold/core"
import { sha256 } from "@keyfold/core/crypto"
import { boundedCall } from "./bounded-call.ts"
import { crc32c } from "./crc32c.ts"
import { missingPermission, toFailure } from "./failure.ts"
import { keyFacts } from "./key-facts.ts"

/** The methods of the SDK's client that are used. */
export type GcpKmsClient = Pick<
  KeyManagementServiceClient,
  "initialize" | "encrypt" | "decrypt" | "getCryptoKey" | "testIamPermissions"
>

export type GcpKmsOptions = {
  /** A client of `@google-cloud/kms` with its credentials. Who made it closes it. */
  readonly client: GcpKmsClient
  /** Bound of each wrap, unwrap or describe, its tries included, in milliseconds; 10,000 unless told. */
  readonly timeoutMs?: number
  /**
   * Told when a wrap was opened by a version that is no longer the primary one: it is due for rewrap, before that
   * version is disabled or destroyed. What it throws is ignored.
   */
  readonly onDueForRewrap?: (wrap: { readonly keyId: string; readonly keyVersion: number }) => void
}

export interface GcpKmsProvider extends KekProvider {
  /**
   * The denials that wrap, unwrap and describe would meet, asked by one `testIamPermissions`. A hint and no proof: Google
   * says that it may let through what the call then does not, and a missing key looks like one without permissions.
   * @throws KeyfoldError what the call fails with
   */
  hintDenials(
    keyId: string,
    options: unknown,
    context: WrapContext,
    call: KekCallOptions,
  ): Promise<readonly KeyfoldError[]>
}

/**
 * Customer keys in Google Cloud KMS: keys of purpose ENCRYPT_DECRYPT, at any protection level. A key id is
 * `projects/P/locations/L/keyRings/R/cryptoKeys/K`, without a version: Cloud KMS chooses that, the wrap records it.
 * @throws KeyfoldError `INVALID_ARGUMENT` for a bad timeout and, from `kek`, for another form of id or any option
 */
export function gcpKms({ client, timeoutMs = 10_000, onDueForRewrap }: GcpKmsOptions): GcpKmsProvider {
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > MAX_TIMEOUT_MS) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "timeoutMs is a whole number of milliseconds from 1 to 600,000",
    )
  }
  return {
    id: PROVIDER_ID,
    kek(keyId, options) {
      if (!KEY_ID.test(keyId)) {
        throw new KeyfoldError(
          "INVALID_ARGUMENT",
          "a gcp-kms key id is projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version",
        )
      }
      if (Object.keys(options ?? {}).length > 0) {
        throw new KeyfoldError("INVALID_ARGUMENT", "a gcp-kms key takes no options")
      }
      return gcpKek(keyId, client, timeoutMs, onDueForRewrap)
    },
    async hintDenials(keyId, _options, _context, { signal, onRequest }) {
      const request = { resource: keyId, permissions: [...PERMISSIONS] }
      const { permissions } = await boundedCall({
        ready: () => client.initialize(),
        ...{ timeoutMs, permission: "cloudkms.cryptoKeys.get", signal, onRequest },
        // The SDK takes a plain object, as for every other method; only its types ask for a message here.
        send: async (options) => (await client.testIamPermissions(request as never, options))[0],
        isIntact: () => true, // it has no checksums
      })
      return PERMISSIONS.filter((each) => !permissions?.includes(each)).map(missingPermission)
    },
  }
}

function gcpKek(
  keyId: string,
  client: GcpKmsClient,
  timeoutMs: number,
  onDueForRewrap: GcpKmsOptions["onDueForRewrap"],
): Kek {
  const bounds = { ready: () => client.initialize(), timeoutMs }
  return {
    providerId: PROVIDER_ID,
    keyId,

    async wrap(secret, context, { signal, onRequest }) {
      const request = {
        name: keyId,
        plaintext: secret,
        plaintextCrc32c: { value: crc32c(secret) },
        ...additionalData(context),
      }
      const reply = await boundedCall({
        ...bounds,
        permission: "cloudkms.cryptoKeyVersions.useToEncrypt",
        signal,
        onRequest,
        send: async (options) => (await client.encrypt(request, options))[0],
        isIntact: (reply) =>
          reply.verifiedPlaintextCrc32c === true &&
          reply.verifiedAdditionalAuthenticatedDataCrc32c === true &&
          matches(reply.ciphertext, reply.ciphertextCrc32c),
      })
      const ciphertext = bytesOf(reply.ciphertext)
      const wrapped = new Uint8Array(1 + ciphertext.length)
      wrapped[0] = ALGORITHM
      wrapped.set(ciphertext, 1)
      return { keyVersion: versionOf(reply.name, keyId), leased: false, wrapped }
    },

    async unwrap(record, context, { signal, onRequest }) {
      if (record.leased || record.wrapped[0] !== ALGORITHM) {
        throw new KeyfoldError("DECRYPTION_FAILED", "not a direct wrap of Cloud KMS")
      }
      const ciphertext = record.wrapped.subarray(1)
      const request = {
        name: keyId,
        ciphertext,
        ciphertextCrc32c: { value: crc32c(ciphertext) },
        ...additionalData(context),
      }
      const reply = await boundedCall({
        ...bounds,
        permission: "cloudkms.cryptoKeyVersions.useToDecrypt",
        signal,
        onRequest,
        send: async (options) => (await client.decrypt(request, options))[0],
        isIntact: (reply) => matches(reply.plaintext, reply.plaintextCrc32c),
      })
      if (reply.usedPrimary === false) tell(onDueForRewrap, { keyId, keyVersion: record.keyVersion })
      const plaintext = bytesOf(reply.plaintext)
      const secret = Uint8Array.from(plaintext)
      plaintext.fill(0)
      return secret
    },

    async describe({ signal, onRequest }) {
      const key = await boundedCall({
        ...bounds,
        permission: "cloudkms.cryptoKeys.get",
        signal,
        onRequest,
        send: async (options) => (await client.getCryptoKey({ name: keyId }, options))[0],
        isIntact: () => true, // it has no checksums
      })
      if (key.name !== keyId) throw anotherKey()
      return keyFacts(key, keyId)
    },

    classify: (error) => toFailure(error).code,
  }
}

/** B of docs/format.md: it stands for the whole binding, so neither context values nor long contexts go out. */
function additionalData(context: WrapContext) {
  const digest = sha256(context.binding)
  return { additionalAuthenticatedData: digest, additionalAuthenticatedDataCrc32c: { value: crc32c(digest) } }
}

type Bytes = Uint8Array | string | null | undefined

/** A checksum that is missing is as bad as a wrong one: whoever strips it could also have changed the bytes. */
function matches(bytes: Bytes, checksum: { readonly value?: unknown } | null | undefined): boolean {
  return checksum != null && Number(checksum.value) === crc32c(bytesOf(bytes))
}

/** The SDK types bytes as perhaps base64, for requests; replies over gRPC are always bytes. */
function bytesOf(bytes: Bytes): Uint8Array {
  return bytes instanceof Uint8Array ? bytes : new Uint8Array(0)
}

/** The N of `cryptoKeyVersions/N`, which also proves that the reply is about the key that was asked for. */
function versionOf(name: string | null | undefined, keyId: string): number {
  const prefix = `${keyId}/cryptoKeyVersions/`
  const version = name?.startsWith(prefix) ? name.slice(prefix.length) : ""
  if (!/^[1-9][0-9]{0,9}$/.test(version) || Number(version) > MAX_VERSION) throw anotherKey()
  return Number(version)
}

function anotherKey(): KeyfoldError {
  return new KeyfoldError("UNKNOWN", "Cloud KMS answered for another key, and the answer was thrown away", {
    side: "network",
    fix: "look for a proxy that mixes up answers",
  })
}

function tell<Event>(observer: ((event: Event) => void) | undefined, event: Event): void {
  try {
    observer?.(event)
  } catch {
    // An observer cannot make an unwrap fail, and has no way to be told.
  }
}

const PROVIDER_ID = "gcp-kms"
const PERMISSIONS = [
  "cloudkms.cryptoKeyVersions.useToEncrypt",
  "cloudkms.cryptoKeyVersions.useToDecrypt",
  "cloudkms.cryptoKeys.get",
] as const
/** docs/format.md, "Wrapped bytes": ciphertext of Encrypt, with B as additional authenticated data. */
const ALGORITHM = 0x01
/** Resource names of Cloud KMS: ring and key ids are `[a-zA-Z0-9_-]{1,63}`; a project id may have a domain. */
const KEY_ID =
  /^projects\/[a-z0-9.:-]{1,100}\/locations\/[a-z0-9-]{1,63}\/keyRings\/[\w-]{1,63}\/cryptoKeys\/[\w-]{1,63}$/
/** A wrap records the version in a u32. */
const MAX_VERSION = 2 ** 32 - 1
/** The most that the SDK itself would wait. */
const MAX_TIMEOUT_MS = 600_000
