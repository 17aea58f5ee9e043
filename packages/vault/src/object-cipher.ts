import { randomUUID } from "node:crypto"
import { type KeyContext, type Keyfold, KeyfoldError } from "@keyfold/core"
import type { Actor } from "./event.ts"
import type { Sealed, VersionFacts, VersionRow } from "./vault-store.ts"

/** What a vault keeps: text, or bytes. */
export type Value = string | Uint8Array

/** Encrypts a value as a new version of an object. @throws KeyfoldError */
export async function sealVersion(
  keyfold: Keyfold,
  objectId: string,
  context: KeyContext,
  value: Value,
  actor: Actor,
): Promise<VersionRow> {
  const size = sizeOf(value)
  const versionId = randomUUID()
  const envelope = await keyfold.encrypt(value, { context, aad: aadOf(objectId, versionId) })
  return {
    objectId,
    versionId,
    createdAt: Date.now(),
    actorId: actor.id,
    actorName: actor.name,
    text: typeof value === "string",
    size,
    ...split(keyfold, envelope),
  }
}

/**
 * Decrypts a version. The ids are those that were asked for, not those beside the ciphertext: a moved ciphertext does
 * not open. @throws KeyfoldError
 */
export async function openVersion(
  keyfold: Keyfold,
  objectId: string,
  versionId: string,
  context: KeyContext,
  version: VersionFacts & Sealed,
): Promise<Value> {
  const aad = aadOf(objectId, versionId)
  const { plaintext } = await keyfold.decrypt(join(version), { context, aad })
  return version.text ? UTF8.decode(plaintext) : plaintext
}

/** Encrypts a version's value anew, with a new DEK, under today's route. @throws KeyfoldError */
export async function reencryptVersion(
  keyfold: Keyfold,
  { objectId, versionId, header, payload }: VersionRow,
  context: KeyContext,
): Promise<Sealed> {
  const aad = aadOf(objectId, versionId)
  return split(keyfold, await keyfold.reencrypt(join({ header, payload }), { context, aad }))
}

/** The KEKs that a header names, in the order of the pairs they serve. @throws KeyfoldError */
export function keyIdsOf(keyfold: Keyfold, header: Uint8Array): readonly string[] {
  return keyfold.inspect(header).wraps.map(({ keyId }) => keyId)
}

function split(keyfold: Keyfold, envelope: Uint8Array): Sealed {
  const { headerBytes } = keyfold.inspect(envelope)
  return { header: envelope.subarray(0, headerBytes), payload: envelope.subarray(headerBytes) }
}

function join({ header, payload }: Sealed): Uint8Array {
  const envelope = new Uint8Array(header.length + payload.length)
  envelope.set(header)
  envelope.set(payload, header.length)
  return envelope
}

function aadOf(objectId: string, versionId: string): Uint8Array {
  return new TextEncoder().encode(`keyfold/vault/v1\0${objectId}\0${versionId}`)
}

function sizeOf(value: Value): number {
  const isText = typeof value === "string"
  if (!isText && !(value instanceof Uint8Array)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a value is a string or a Uint8Array")
  }
  const size = isText ? Buffer.byteLength(value) : value.byteLength
  if (size > MAX_BYTES) throw new KeyfoldError("INVALID_ARGUMENT", "a value has at most 64 MiB")
  if (isText && !value.isWellFormed()) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a string must be well-formed: it holds half a surrogate pair")
  }
  return size
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
/** 64 MiB. */
const MAX_BYTES = 64 * 1024 * 1024
