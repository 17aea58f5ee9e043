/** KEKs and routers out of a vector file: real cryptography over keys that the file shows. */
import {
  constants,
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  timingSafeEqual,
} from "node:crypto"
import {
  type Kek,
  KeyfoldError,
  leasedBinding,
  type ParsedContext,
  type ReadCandidate,
  type Router,
  scopedBinding,
  type WrapContext,
  type WrapRecord,
} from "@keyfold/core"
import type { VectorCandidate, VectorFile, VectorKek } from "./vector-types.ts"

const unhex = (hex: string) => Buffer.from(hex, "hex")

/** A router over the candidates of a vector: reading gives them all, writing the first `writeCount` of them. */
export function vectorRouter(
  keks: VectorFile["keks"],
  candidates: readonly VectorCandidate[],
  environment: string,
  writeCount = candidates.length,
): Router {
  const named = new Map<string, Kek>()
  const kekOf = (name: string): Kek => {
    const kek = named.get(name) ?? vectorKek(keks[name] as VectorKek, environment)
    named.set(name, kek)
    return kek
  }
  const entries = (context: ParsedContext): ReadCandidate[] =>
    candidates.flatMap((candidate) => {
      const covered = context.pairs.filter(({ name }) => candidate.pairs.includes(name))
      if (covered.length !== candidate.pairs.length) return []
      return {
        kek: kekOf(candidate.kek),
        covered,
        mask: covered.reduce((mask, pair) => mask | (1 << context.pairs.indexOf(pair)), 0),
        owner: candidate.owner,
        companion: candidate.companion === null ? undefined : kekOf(candidate.companion),
        lastVersion: candidate.lastVersion ?? undefined,
      }
    })
  return { forReading: entries, forWriting: (context) => entries(context).slice(0, writeCount) }
}

/** One KEK of a vector file. It writes leased wraps after `leaseNext` was set to true. */
export function vectorKek(facts: VectorKek, environment: string): Kek & { leaseNext: boolean } {
  const wrapSecret = (secret: Uint8Array, binding: Uint8Array): WrapRecord => wrapWith(facts, secret, binding)
  const unwrapSecret = (record: WrapRecord, binding: Uint8Array): Uint8Array => {
    const secret = unwrapWith(facts, record, binding)
    if (secret === undefined) throw new KeyfoldError("DECRYPTION_FAILED", "the wrap does not open")
    return secret
  }
  const scopeOf = ({ owner, covered }: WrapContext, salt: Uint8Array) =>
    scopedBinding(
      { purpose: "leaseKey", providerId: facts.provider, keyId: facts.keyId, owner, environment, covered },
      salt,
    )
  const kek = {
    providerId: facts.provider,
    keyId: facts.keyId,
    leaseNext: false,
    wrap(secret: Uint8Array, context: WrapContext): WrapRecord {
      if (!kek.leaseNext) return wrapSecret(secret, context.binding)
      const leaseKey = randomBytes(32)
      const salt = randomBytes(16)
      const { keyVersion, wrapped } = wrapSecret(leaseKey, scopeOf(context, salt))
      const length = Buffer.alloc(2)
      length.writeUInt16BE(wrapped.length)
      const sealed = gcmSeal(leaseKey, leasedBinding(context.binding), secret)
      return { keyVersion, leased: true, wrapped: Buffer.concat([salt, length, wrapped, sealed]) }
    },
    unwrap(record: WrapRecord, context: WrapContext): Uint8Array {
      if (!record.leased) return unwrapSecret(record, context.binding)
      const { wrapped, keyVersion } = record
      const end = 18 + Buffer.from(wrapped).readUInt16BE(16)
      const inner = { keyVersion, leased: false, wrapped: wrapped.subarray(18, end) }
      const leaseKey = unwrapSecret(inner, scopeOf(context, wrapped.subarray(0, 16)))
      const secret = gcmOpen(leaseKey, context.binding, wrapped.subarray(end))
      if (secret === undefined) throw new KeyfoldError("DECRYPTION_FAILED", "the wrap does not open")
      return secret
    },
    describe: () => Promise.reject(new KeyfoldError("UNKNOWN", "a vector's KEK has no facts")),
    classify: () => "UNKNOWN" as const,
  }
  return kek
}

function wrapWith(facts: VectorKek, secret: Uint8Array, binding: Uint8Array): WrapRecord {
  const b = sha256(binding)
  if ("versions" in facts) {
    const keyVersion = Math.max(...Object.keys(facts.versions).map(Number))
    const salt = randomBytes(16)
    const sealed = gcmSeal(managedSubkey(facts, keyVersion, salt) as Buffer, binding, secret)
    return { keyVersion, leased: false, wrapped: Buffer.concat([salt, sealed]) }
  }
  const direct = (algorithm: number, ciphertext: Uint8Array, keyVersion = 0): WrapRecord => ({
    keyVersion,
    leased: false,
    wrapped: Buffer.concat([Buffer.of(algorithm), ciphertext]),
  })
  switch (facts.algorithm) {
    case "RSA-OAEP-256":
      return direct(1, publicEncrypt({ key: facts.privateKey, ...OAEP }, Buffer.concat([secret, b])))
    case "A256GCM":
      return direct(2, gcmSeal(unhex(facts.key), b, secret))
    case "A256KW": {
      const cipher = createCipheriv("id-aes256-wrap", unhex(facts.key), KW_IV)
      return direct(3, Buffer.concat([cipher.update(Buffer.concat([secret, b])), cipher.final()]))
    }
    case "kms": {
      const ciphertext = randomBytes(64)
      const answers = facts.answers as { ciphertext: string; b: string; secret: string }[]
      answers.push({
        ciphertext: ciphertext.toString("hex"),
        b: b.toString("hex"),
        secret: Buffer.from(secret).toString("hex"),
      })
      return direct(1, ciphertext, facts.keyVersion)
    }
  }
}

function unwrapWith(facts: VectorKek, record: WrapRecord, binding: Uint8Array): Uint8Array | undefined {
  const { wrapped, keyVersion } = record
  if ("versions" in facts) {
    const subkey = managedSubkey(facts, keyVersion, wrapped.subarray(0, 16))
    return subkey && gcmOpen(subkey, binding, wrapped.subarray(16))
  }
  const b = sha256(binding)
  const ciphertext = wrapped.subarray(1)
  switch (facts.algorithm) {
    case "RSA-OAEP-256":
      return wrapped[0] === 1
        ? boundSecret(() => privateDecrypt({ key: facts.privateKey, ...OAEP }, ciphertext), b)
        : undefined
    case "A256GCM":
      return wrapped[0] === 2 ? gcmOpen(unhex(facts.key), b, ciphertext) : undefined
    case "A256KW":
      if (wrapped[0] !== 3 || ciphertext.length !== 72) return undefined
      return boundSecret(() => {
        const decipher = createDecipheriv("id-aes256-wrap", unhex(facts.key), KW_IV)
        return Buffer.concat([decipher.update(ciphertext), decipher.final()])
      }, b)
    case "kms": {
      const asked = Buffer.from(ciphertext).toString("hex")
      const answer = facts.answers.find((each) => each.ciphertext === asked && each.b === b.toString("hex"))
      return wrapped[0] === 1 && answer !== undefined ? unhex(answer.secret) : undefined
    }
  }
}

/** The secret of 64 bytes whose second half must be B. */
function boundSecret(decrypt: () => Buffer, b: Buffer): Uint8Array | undefined {
  let both: Buffer
  try {
    both = decrypt()
  } catch {
    return undefined // the primitive refused
  }
  return both.length === 64 && timingSafeEqual(both.subarray(32), b) ? both.subarray(0, 32) : undefined
}

function managedSubkey(
  facts: VectorKek & { versions: Readonly<Record<string, string>> },
  keyVersion: number,
  salt: Uint8Array,
): Buffer | undefined {
  const key = facts.versions[keyVersion]
  if (key === undefined) return undefined
  const version = Buffer.alloc(4)
  version.writeUInt32BE(keyVersion)
  return createHmac("sha256", unhex(key))
    .update(
      Buffer.concat([
        unhex("00000001"),
        Buffer.from("keyfold/v1/kek\0"),
        unhex(facts.keyId),
        version,
        salt,
        unhex("00000100"),
      ]),
    )
    .digest()
}

function gcmSeal(key: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Buffer {
  const iv = randomBytes(12)
  const cipher = createCipheriv("aes-256-gcm", key, iv)
  cipher.setAAD(aad)
  return Buffer.concat([iv, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

function gcmOpen(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Buffer | undefined {
  if (sealed.length !== 60) return undefined
  const decipher = createDecipheriv("aes-256-gcm", key, sealed.subarray(0, 12), { authTagLength: 16 })
  decipher.setAAD(aad)
  decipher.setAuthTag(sealed.subarray(44))
  const plaintext = decipher.update(sealed.subarray(12, 44))
  try {
    decipher.final()
  } catch {
    return undefined // the tag does not hold
  }
  return plaintext
}

function sha256(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest()
}

const OAEP = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" }
/** RFC 3394 §2.2.3.1. */
const KW_IV = unhex("a6a6a6a6a6a6a6a6")
