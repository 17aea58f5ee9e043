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

/** One version of an object as stored. */
export type VersionRow = VersionFacts & { readonly objectId: string; readonly envelope: Uint8Array }

/** A version without most of its ciphertext. */
export type VersionHead = VersionFacts & {
  /** As much of the envelope as a header can take. */
  readonly head: Uint8Array
  /** Length of the whole envelope in bytes. */
  readonly envelopeBytes: number
}

/** Which live objects to list, by time of creation. */
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
}

/** The outcome of a conditional write. */
export type Written = "done" | "not-found" | "name-taken" | "version-conflict"

/**
 * Where a vault keeps its rows. Every call is one transaction: all of it is durable when it resolves, or none.
 * Each rejects with a KeyfoldError `STORE_FAILED`, `STORE_FULL` or `STORE_CORRUPT`.
 */
export interface VaultStore {
  /** Adds an object with its first version, unless its name is alive. */
  insert(object: ObjectRow, version: VersionRow): Promise<Written>
  /** Adds a version and makes it current, if the object is alive and `expected`, where given, is current. */
  append(version: VersionRow, expected: string | undefined): Promise<Written>
  /** Marks a live object deleted, if `expected`, where given, is current. */
  remove(id: string, expected: string | undefined, deletedAt: number): Promise<Written>
  /** A live object by id. */
  byId(id: string): Promise<ObjectRow | undefined>
  /** A live object by name. */
  byName(name: string): Promise<ObjectRow | undefined>
  /** One version of an object, with its ciphertext. */
  version(objectId: string, versionId: string): Promise<VersionRow | undefined>
  /** The same with the beginning of its ciphertext only, 64 KiB, and how long that is in all. */
  head(objectId: string, versionId: string): Promise<VersionHead | undefined>
  /** All versions of an object, the newest first. */
  versions(objectId: string): Promise<readonly VersionFacts[]>
  /** Up to `limit` live objects; undefined where `after` or `before` names no object that ever was. */
  list(query: ListQuery): Promise<readonly ObjectRow[] | undefined>
  /** Ends the use of the store. */
  close(): Promise<void>
}
