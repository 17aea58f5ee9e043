import { createHash, createHmac, randomBytes } from "node:crypto"
import type { KeyContext } from "@keyfold/core"
import { KeyfoldError } from "@keyfold/core"
import { monotonicFactory } from "ulid"
import type { EventRow, LinkedEvent, VaultStore } from "./vault-store.ts"

/** Who acts, and from where. */
export type Actor = {
  readonly id: string
  readonly name: string
  /** Default "api". */
  readonly source?: "api" | "dashboard" | "admin_portal" | "system"
}

/** What happened. Those of WorkOS Vault's contract, and three that it does not have: undeleted, purged, rewrapped. */
export type EventType =
  | "vault.data.created"
  | "vault.data.updated"
  | "vault.data.read"
  | "vault.data.deleted"
  | "vault.data.undeleted"
  | "vault.data.rewrapped"
  | "vault.data.purged"
  | "vault.metadata.read"
  | "vault.names.listed"
  | "vault.kek.created"
  | "vault.kek.deleted"
  | "vault.dek.read"
  | "vault.dek.decrypted"
  | "vault.byok_key.verification_completed"
  | "vault.byok_key.deleted"

/** What an event tells of its subject. Never a value. */
export type EventSubject = {
  readonly objectId?: string
  readonly versionId?: string
  readonly keyIds?: readonly string[]
  readonly name?: string
  readonly context?: KeyContext
  readonly organizationId?: string
  readonly provider?: "AWS_KMS" | "GCP_KMS" | "AZURE_KEY_VAULT"
  readonly verified?: boolean
}

/** An event as it is read. What a purge removed of it is undefined. */
export type VaultEvent = EventSubject & {
  readonly id: string
  readonly type: EventType
  /** Milliseconds since 1970. */
  readonly at: number
  readonly actor: Required<Actor>
  /** Its place in the chain, from 1. */
  readonly position: number
}

/** An event to be stored. Ids stand in what the chain covers; names and contexts only as a keyed hash. */
export function eventRow(type: EventType, actor: Actor, subject: EventSubject): EventRow {
  const { objectId, versionId, keyIds = [], verified, provider, ...readable } = subject
  const at = Date.now()
  const id = `event_${nextUlid(at)}`
  const salt = randomBytes(16)
  const detail = JSON.stringify(readable)
  const { id: actorId, name: actorName, source = "api" } = actor
  const body: Body = {
    ...{ id, type, at, actor: { id: actorId, name: actorName, source }, keyIds },
    ...(objectId !== undefined && { objectId }),
    ...(versionId !== undefined && { versionId }),
    ...(provider !== undefined && { provider }),
    ...(verified !== undefined && { verified }),
    detail: hashOfDetail(salt, detail),
  }
  const organizationId = readable.organizationId ?? readable.context?.organization_id
  return { id, at, body: JSON.stringify(body), objectId, detail, salt, organizationId }
}

/** A stored event, as people read it. @throws KeyfoldError `STORE_CORRUPT` */
export function readEvent({ body, detail, position }: LinkedEvent): VaultEvent {
  try {
    const { detail: _, ...facts } = JSON.parse(body) as Body
    return { ...facts, ...(detail === undefined ? {} : (JSON.parse(detail) as object)), position }
  } catch {
    throw new KeyfoldError("STORE_CORRUPT", "an event is damaged: restore the vault from a backup")
  }
}

/** Gives every event that has none its place in the chain; of several processes that try, one does it. */
export async function linkEvents(store: VaultStore): Promise<void> {
  for (;;) {
    const events = await store.unlinked(BATCH)
    if (events.length === 0) return
    const last = await store.lastLink()
    let { position, hash } = last ?? START
    const links = events.map(({ id, body }) => {
      position += 1
      hash = hashOfLink(hash, body)
      return { id, position, hash }
    })
    await store.link(last, links)
  }
}

/**
 * Walks the chain from its beginning: each hash covers the event and all before it. It shows a change, a removal or an
 * insertion by whoever cannot rewrite everything that follows; keep the last hash elsewhere to show that, too.
 * @returns how many events there are, how many of them a purge made unreadable, and the last hash
 * @throws KeyfoldError `STORE_CORRUPT` naming the first position that does not fit
 */
export async function verifyEvents(
  store: VaultStore,
): Promise<{ readonly events: number; readonly purged: number; readonly hash: Uint8Array }> {
  await linkEvents(store)
  let { position, hash } = START
  let purged = 0
  for (;;) {
    const events = await store.events({ limit: BATCH, order: "asc", above: position })
    if (events.length === 0) break
    for (const event of events) {
      hash = hashOfLink(hash, event.body)
      position += 1
      if (event.position !== position || !same(event.hash, hash) || !detailFits(event)) {
        throw new KeyfoldError("STORE_CORRUPT", `the audit chain breaks at event ${position}`)
      }
      if (event.detail === undefined) purged++
    }
  }
  const last = await store.lastLink()
  if ((last?.position ?? 0) !== position) {
    throw new KeyfoldError("STORE_CORRUPT", `the audit chain breaks after event ${position}`)
  }
  return { events: position, purged, hash }
}

type Body = Omit<VaultEvent, keyof Readable | "position"> & { readonly detail: string }
type Readable = Pick<EventSubject, "name" | "context" | "organizationId">

function detailFits({ body, detail, salt }: LinkedEvent): boolean {
  if (detail === undefined || salt === undefined) return detail === undefined && salt === undefined
  return (JSON.parse(body) as Body).detail === hashOfDetail(salt, detail)
}

/** Keyed, so that nobody finds a name by trying once its salt is purged. */
function hashOfDetail(salt: Uint8Array, detail: string): string {
  return createHmac("sha256", salt).update(detail).digest("base64url")
}

function hashOfLink(previous: Uint8Array, body: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(LABEL).update(previous).update(body).digest())
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}

/** Sorted by time, and in the order of making where a millisecond had several. */
const nextUlid = monotonicFactory()
const LABEL = "keyfold/audit/v1\0"
const START: { readonly position: number; readonly hash: Uint8Array } = {
  position: 0,
  hash: new Uint8Array(32),
}
const BATCH = 500
