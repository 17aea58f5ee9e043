import type { KeyContext } from "@keyfold/core"

/** One object as stored. Times are milliseconds since 1970. */
export type ObjectRow = {
  readonly id: string
  readonly name: string
  /** The key context as JSON. */
  readonly context: string
  /** The current version. */
  readonly versionId: string
  readonly createdAt: number
  readonly updatedAt: number
  /** 0 while it is alive. */
  readonly deletedAt: number
}

/** What is known of a version without its ciphertext. */
export type VersionFacts = {
  readonly versionId: string
  /** Milliseconds since 1970. */
  readonly createdAt: number
  readonly actorId: string
  readonly actorName: string
  /** Whether a string was written. */
  readonly text: boolean
  /** Bytes of the plaintext. */
  readonly size: number
}

/** An envelope in two parts: a rewrap writes the header alone. */
export type Sealed = { readonly header: Uint8Array; readonly payload: Uint8Array }

/** One version of an object as stored. */
export type VersionRow = VersionFacts & Sealed & { readonly objectId: string }

/** A version without its payload. */
export type VersionHead = VersionFacts & {
  readonly header: Uint8Array
  /** Counts how often it was sealed anew, for compare-and-swap. */
  readonly change: number
}

/** A version that is to be sealed anew, if it still has this `change`. */
export type Resealing = {
  readonly objectId: string
  readonly versionId: string
  readonly change: number
  /** The header alone where the payload stays. */
  readonly sealed: Partial<Sealed>
  /** Milliseconds since 1970. */
  readonly at: number
  readonly events: readonly EventRow[]
}

/** Versions of all objects, the deleted ones too, that were sealed before a time. */
export type Due = {
  /** Milliseconds since 1970. */
  readonly sealedBefore: number
  /** Only those whose key context has all these pairs. */
  readonly context?: KeyContext | undefined
}

/** A version that one process works on. */
export type Claimed = {
  readonly objectId: string
  readonly versionId: string
  /** The key context as JSON. */
  readonly context: string
  readonly change: number
  readonly header: Uint8Array
}

/** Work on all versions that are due, which survives the process that began it. */
export type SweepRow = {
  readonly id: string
  readonly kind: "rewrap" | "reencrypt"
  /** The pairs that it is bound to, as JSON. */
  readonly context: string
  /** When it began, and so what it has to do: all that was sealed before. Milliseconds since 1970. */
  readonly startedAt: number
}

/** Which objects to list, by time of creation. */
export type ListQuery = {
  /** At most so many objects. */
  readonly limit: number
  readonly order: "asc" | "desc"
  /** The id that the page comes after, in the order asked for. */
  readonly after?: string | undefined
  /** The id that the page ends before. Not together with `after`. */
  readonly before?: string | undefined
  /** A part of the name; case counts. */
  readonly search?: string | undefined
  /** Only what was updated later, in milliseconds since 1970. */
  readonly updatedAfter?: number | undefined
  /** Only what has all these pairs in its context. */
  readonly context?: KeyContext | undefined
  /** The deleted objects that can be had back, instead of the living. */
  readonly deleted?: boolean | undefined
}

/** The outcome of a conditional write. */
export type Written = "done" | "not-found" | "name-taken" | "version-conflict"

/** An event that is to be stored. */
export type EventRow = {
  readonly id: string
  /** Milliseconds since 1970. */
  readonly at: number
  /** What the chain of hashes covers, as JSON; it names ids and a keyed hash of `detail`. */
  readonly body: string
  /** The object that it tells of, if any. */
  readonly objectId: string | undefined
  /** What people read, as JSON; it goes when the object is purged. */
  readonly detail: string
  /** The key of that hash, gone with it. */
  readonly salt: Uint8Array
  /** Whose events a reader may ask for. */
  readonly organizationId: string | undefined
}

/** An event in its place in the chain. */
export type LinkedEvent = Pick<EventRow, "id" | "at" | "body"> & {
  /** From 1, without gaps. */
  readonly position: number
  /** Of the body and of the hash before, 32 bytes. */
  readonly hash: Uint8Array
  /** Undefined once its object is purged. */
  readonly detail: string | undefined
  readonly salt: Uint8Array | undefined
}

/** The place of an event in the chain. */
export type Link = Pick<LinkedEvent, "id" | "position" | "hash">

/** Which events to list, by their place in the chain. */
export type EventQuery = {
  readonly limit: number
  readonly order: "asc" | "desc"
  /** Positions, both exclusive. */
  readonly above?: number | undefined
  readonly below?: number | undefined
  /** Only these types. */
  readonly types?: readonly string[] | undefined
  /** Only what happened in this time, in milliseconds since 1970, the ends included. */
  readonly from?: number | undefined
  readonly until?: number | undefined
  readonly organizationId?: string | undefined
}

/** An API key as it is kept: what opens it cannot be found from it. */
export type ApiKeyRow = {
  /** Not secret. */
  readonly id: string
  readonly name: string
  /** SHA-256 of the key. */
  readonly hash: Uint8Array
  /** What it may do and where, as JSON. */
  readonly scope: string
  readonly createdAt: number
  /** 0 while it is good. */
  readonly revokedAt: number
}

/** What a text that ends by itself, such as a link or a session, lets its holder do: kept under the hash of that text. */
export type TokenRow = {
  /** What it is for; one of another kind is not found. */
  readonly kind: string
  /** SHA-256 of the text. */
  readonly hash: Uint8Array
  /** JSON. */
  readonly content: string
  /** Milliseconds since 1970; from then on it is not there. */
  readonly expiresAt: number
}

/** Where events are sent, and how far that has come. */
export type WebhookRow = WebhookProgress & {
  readonly id: string
  /** Where and what, as JSON; the secret is bound to it. */
  readonly settings: string
  /** An envelope of the secret that signs. */
  readonly secret: Uint8Array
  readonly createdAt: number
  /** Counts its moves, for compare-and-swap. */
  readonly change: number
}

/** How far a webhook has come. Times are milliseconds since 1970. */
export type WebhookProgress = {
  /** The place in the chain of the last event that it is done with. */
  readonly position: number
  /** Nobody is to work on it before: a process that does moves this on, and one that failed until the next try. */
  readonly dueAt: number
  /** Tries in a row that failed. */
  readonly failures: number
  /** When the first of them was; 0 where there is none. */
  readonly failingSince: number
  /** What the last one met, such as `HTTP 500`; empty where there is none. */
  readonly failure: string
}

/**
 * Where a vault keeps its rows; those of one environment. Every call is one transaction: all of it is durable when it
 * resolves, its events too, or none. Each rejects with a KeyfoldError `STORE_FAILED`, `STORE_FULL` or `STORE_CORRUPT`.
 */
export interface VaultStore {
  /** Adds an object with its first version, unless its name is alive. */
  insert(object: ObjectRow, version: VersionRow, events: readonly EventRow[]): Promise<Written>
  /** Adds a version and makes it current, if the object is alive and `expected`, where given, is current. */
  append(version: VersionRow, expected: string | undefined, events: readonly EventRow[]): Promise<Written>
  /** Seals versions anew, which ends claims on them; says of each whether it did. */
  reseal(versions: readonly Resealing[]): Promise<readonly boolean[]>
  /** Takes up to `limit` versions that are due and that nobody has claimed until after `now`, for itself until `until`. */
  claim(due: Due, limit: number, now: number, until: number): Promise<readonly Claimed[]>
  /** Changes until when versions are claimed. */
  postpone(claimed: readonly Pick<Claimed, "objectId" | "versionId">[], until: number): Promise<void>
  /** How many versions are due, claimed or not. */
  countDue(due: Due): Promise<number>
  /** The unfinished sweep of this kind and context, or else this one, now begun. */
  beginSweep(sweep: SweepRow): Promise<SweepRow>
  endSweep(id: string): Promise<void>
  /** Marks a live object deleted, if `expected`, where given, is current. */
  remove(
    id: string,
    expected: string | undefined,
    deletedAt: number,
    events: readonly EventRow[],
  ): Promise<Written>
  /** Makes a deleted object alive under this name, unless that is alive. */
  undelete(id: string, name: string, events: readonly EventRow[]): Promise<Written>
  /** The ids of up to `limit` objects that were deleted before a time. */
  deletedBefore(time: number, limit: number): Promise<readonly string[]>
  /** Removes every row of an object that was deleted before a time; says whether it did. */
  purge(id: string, deletedBefore: number, events: readonly EventRow[]): Promise<boolean>
  /**
   * Makes sure that removed bytes are nowhere in the store's files; says whether it did. Undefined where that is not
   * the store's to do, as in a database server.
   */
  scrub(): Promise<boolean | undefined>
  /** An object, alive or deleted. */
  byId(id: string): Promise<ObjectRow | undefined>
  /** A live object by name. */
  byName(name: string): Promise<ObjectRow | undefined>
  /** One version of an object, with its ciphertext. */
  version(objectId: string, versionId: string): Promise<VersionRow | undefined>
  /** The same without its payload. */
  head(objectId: string, versionId: string): Promise<VersionHead | undefined>
  /** All versions of an object, the newest first. */
  versions(objectId: string): Promise<readonly VersionFacts[]>
  /** Up to `limit` objects; undefined where `after` or `before` names no object. */
  list(query: ListQuery): Promise<readonly ObjectRow[] | undefined>
  /** Adds events that no write brings along. */
  record(events: readonly EventRow[]): Promise<void>
  /** Up to `limit` events that have no place in the chain yet, the oldest first. */
  unlinked(limit: number): Promise<readonly Pick<EventRow, "id" | "body">[]>
  /** The last link of the chain; undefined where there is none. */
  lastLink(): Promise<Link | undefined>
  /** Adds links to the chain if `after` is still its last; says whether it did. */
  link(after: Link | undefined, links: readonly Link[]): Promise<boolean>
  /** Linked events. */
  events(query: EventQuery): Promise<readonly LinkedEvent[]>
  /** The place of an event in the chain, where it has one. */
  eventPosition(id: string): Promise<number | undefined>
  /** Adds an API key. */
  putApiKey(key: ApiKeyRow): Promise<void>
  /** The API key with this hash, revoked or not. */
  findApiKey(hash: Uint8Array): Promise<ApiKeyRow | undefined>
  /** Every API key, the oldest first. */
  apiKeys(): Promise<readonly ApiKeyRow[]>
  /** Ends an API key; says whether there was one that was good. */
  revokeApiKey(id: string, revokedAt: number): Promise<boolean>
  /** Adds a token unless its hash is there, and removes every one that has expired by `now`; says whether it added it. */
  putToken(token: TokenRow, now: number): Promise<boolean>
  /** A token that has not expired by `now`. */
  findToken(kind: string, hash: Uint8Array, now: number): Promise<TokenRow | undefined>
  /** The same, and removes it: of several callers one gets it. */
  takeToken(kind: string, hash: Uint8Array, now: number): Promise<TokenRow | undefined>
  /** Adds a webhook. */
  putWebhook(webhook: WebhookRow): Promise<void>
  /** Every webhook, the oldest first. */
  webhooks(): Promise<readonly WebhookRow[]>
  /** Changes how far a webhook has come, and adds one to its `change`, if it still has this one; says whether it did. */
  moveWebhook(id: string, change: number, progress: WebhookProgress): Promise<boolean>
  /** Removes a webhook; says whether there was one. */
  removeWebhook(id: string): Promise<boolean>
  /** Ends the use of the store. */
  close(): Promise<void>
}
