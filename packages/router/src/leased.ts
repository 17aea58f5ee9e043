import {
  type FailureCode,
  type Kek,
  type KekCallOptions,
  type KekFacts,
  KeyfoldError,
  leasedBinding,
  type Pair,
  scopedBinding,
  type WrapContext,
  type WrapRecord,
} from "@keyfold/core"
import { equalBytes, fillRandom, importLongLivedKey, open, sealInto, sha256 } from "@keyfold/core/crypto"
import { type Lease, leaseStore } from "./lease-store.ts"
import { invalid } from "./plain-data.ts"
import { SingleFlight } from "./single-flight.ts"

/** The route entry that a lease belongs to, and how long it lasts. */
export type LeaseOptions = {
  /** Whose key it is. */
  readonly owner: string
  /** The pairs that wraps of the entry cover, sorted by name. */
  readonly covered: readonly Pair[]
  /** That of the managed provider, if there is one: leased data of one environment opens in no other. */
  readonly environment: string
  /** How long the CMK is not asked again, in milliseconds: 60,000 unless told, at most 3,600,000; 0 is off. */
  readonly ttlMs?: number
  /** Wraps under one lease; 1,048,576 unless told, which is also the most. */
  readonly maxUses?: number
}

/**
 * Puts a lease before a CMK: a random lease key, which the CMK wraps once and which then wraps locally, until its time
 * or its uses are over. Leased wraps always open; they are made only where `ttlMs` is not 0. Any denial by the CMK ends
 * all its leases in this process at once; an outage is ridden out, to the end of `ttlMs` and no further.
 * @throws KeyfoldError `INVALID_ARGUMENT` for a `ttlMs` or `maxUses` out of range, or an ill-formed owner or environment
 */
export function leased(kek: Kek, options: LeaseOptions): Kek {
  return new LeasedKek(kek, options)
}

/** @throws KeyfoldError `INVALID_ARGUMENT` */
export function checkLeaseTtl(ttlMs: unknown): asserts ttlMs is number {
  if (!Number.isInteger(ttlMs) || (ttlMs as number) < 0 || (ttlMs as number) > MAX_TTL_MS) {
    throw invalid(`a lease lasts a whole number of milliseconds from 0, which is off, to ${MAX_TTL_MS}`)
  }
}

class LeasedKek implements Kek {
  readonly providerId: string
  readonly keyId: string
  readonly #kek: Kek
  readonly #entry: LeaseOptions & { readonly ttlMs: number }
  readonly #maxUses: number
  /** In the store of the process, leases of this KEK stand under keys that begin so. */
  readonly #id = `${++made} `
  readonly #cmk: string
  readonly #flights = new SingleFlight<Lease>()
  /** The name of the lease that opened last: most data is read under few leases, and a digest takes microseconds. */
  #lastRead: (Pick<LeasedParts, "keyVersion" | "prefix"> & { readonly name: string }) | undefined

  constructor(kek: Kek, { maxUses = MAX_USES, ttlMs = DEFAULT_TTL_MS, ...entry }: LeaseOptions) {
    checkLeaseTtl(ttlMs)
    if (!Number.isInteger(maxUses) || maxUses < 1 || maxUses > MAX_USES) {
      throw invalid(`a lease makes from 1 to ${MAX_USES} wraps`)
    }
    this.#kek = kek
    this.#entry = { ...entry, ttlMs }
    this.#maxUses = maxUses
    this.providerId = kek.providerId
    this.keyId = kek.keyId
    this.#cmk = `${kek.providerId} ${kek.keyId}`
    this.#scope(new Uint8Array(SALT_BYTES)) // refuses what no scope can hold
  }

  wrap(secret: Uint8Array, context: WrapContext, options: KekCallOptions): WrapRecord | Promise<WrapRecord> {
    this.#checkEntry(context)
    if (this.#entry.ttlMs === 0) return this.#heeding(() => this.#kek.wrap(secret, context, options))
    const lease = leaseStore.get(this.#id)
    const isUsable = lease !== undefined && lease.usesLeft > 0
    options.onLease?.(isUsable)
    if (!isUsable) return this.#wrapWithNew(secret, context, options)
    this.#refreshIfDue(lease, this.#id, (signal) => this.#makeLease(signal))
    return wrapUnder(lease, secret, context)
  }

  unwrap(
    record: WrapRecord,
    context: WrapContext,
    options: KekCallOptions,
  ): Uint8Array | Promise<Uint8Array> {
    this.#checkEntry(context)
    if (!record.leased) return this.#heeding(() => this.#kek.unwrap(record, context, options))
    const parts = partsOf(record)
    const { ttlMs } = this.#entry
    if (ttlMs === 0) {
      options.onLease?.(false)
      return this.#openLease(parts, options.signal).then((lease) => openUnder(lease, parts, context))
    }
    const key = this.#leaseName(parts)
    const lease = leaseStore.get(key)
    options.onLease?.(lease !== undefined)
    const ask = (signal: AbortSignal) => this.#openLease(parts, signal)
    if (lease === undefined) {
      return this.#askFor(key, options.signal, ask).then((lease) => openUnder(lease, parts, context))
    }
    this.#refreshIfDue(lease, key, ask)
    return openUnder(lease, parts, context)
  }

  async describe(options: KekCallOptions): Promise<KekFacts> {
    const facts = await this.#heeding(() => this.#kek.describe(options))
    if (OFF_STATES.has(facts.state)) leaseStore.drop(this.#cmk)
    return facts
  }

  classify(error: unknown): FailureCode {
    return error instanceof KeyfoldError ? error.code : this.#kek.classify(error)
  }

  async #wrapWithNew(
    secret: Uint8Array,
    context: WrapContext,
    { signal }: KekCallOptions,
  ): Promise<WrapRecord> {
    for (;;) {
      const lease = await this.#askFor(this.#id, signal, (signal) => this.#makeLease(signal))
      // Of many who waited for one lease, the first may have used it up.
      if (lease.usesLeft > 0) return wrapUnder(lease, secret, context)
    }
  }

  /** Has the CMK vouch for a lease, once for all who ask meanwhile; what fails is not kept. */
  #askFor(
    key: string,
    signal: AbortSignal | undefined,
    ask: (signal: AbortSignal) => Promise<Lease>,
  ): Promise<Lease> {
    const { ttlMs } = this.#entry
    return this.#flights.run(key, signal, ttlMs, (signal) =>
      leaseStore.ask(key, this.#cmk, ttlMs, () => ask(signal)),
    )
  }

  /** Asks the CMK again before a lease ends, without anybody waiting for it. */
  #refreshIfDue(lease: Lease, key: string, ask: (signal: AbortSignal) => Promise<Lease>): void {
    if (performance.now() < lease.refreshAt || this.#flights.has(key)) return
    this.#askFor(key, AbortSignal.timeout(REFRESH_DEADLINE_MS), ask).catch((error: unknown) => {
      // A denial has dropped it already; an outage leaves it to its end; what has no name is no reason to trust it.
      if (OUTAGES.has(this.#codeOf(error))) lease.refreshAt = performance.now() + REFRESH_PAUSE_MS
      else leaseStore.delete(key)
    })
  }

  /** The digest is of the whole wrapped key; nothing that the envelope merely claims finds a lease. */
  #leaseName({ keyVersion, prefix }: LeasedParts): string {
    const last = this.#lastRead
    if (last?.keyVersion === keyVersion && equalBytes(last.prefix, prefix)) return last.name
    const name = `${this.#id}${keyVersion} ${String.fromCharCode(...sha256(prefix))}`
    this.#lastRead = { keyVersion, prefix: Uint8Array.from(prefix), name }
    return name
  }

  async #makeLease(signal: AbortSignal | undefined): Promise<Lease> {
    const leaseKey = new Uint8Array(SECRET_BYTES)
    const salt = new Uint8Array(SALT_BYTES)
    fillRandom(leaseKey)
    fillRandom(salt)
    try {
      const times = this.#timesFromNow()
      const { keyVersion, leased, wrapped } = await this.#heeding(() =>
        this.#kek.wrap(leaseKey, this.#scope(salt), { signal }),
      )
      if (leased || wrapped.length > MAX_WRAPPED_LEASE_BYTES) {
        throw new KeyfoldError("UNKNOWN", "its provider gave a wrap that no lease can hold")
      }
      const prefix = new Uint8Array(SALT_BYTES + 2 + wrapped.length)
      prefix.set(salt)
      new DataView(prefix.buffer).setUint16(SALT_BYTES, wrapped.length)
      prefix.set(wrapped, SALT_BYTES + 2)
      return { ...times, key: importLongLivedKey(leaseKey), keyVersion, prefix, usesLeft: this.#maxUses }
    } finally {
      leaseKey.fill(0)
    }
  }

  async #openLease(
    { keyVersion, salt, wrapped }: LeasedParts,
    signal: AbortSignal | undefined,
  ): Promise<Lease> {
    const times = this.#timesFromNow()
    const leaseKey = await this.#heeding(() =>
      this.#kek.unwrap({ keyVersion, leased: false, wrapped }, this.#scope(salt), { signal }),
    )
    try {
      if (leaseKey.length !== SECRET_BYTES) throw refused()
      return { ...times, key: importLongLivedKey(leaseKey), keyVersion, prefix: NO_PREFIX, usesLeft: 0 }
    } finally {
      leaseKey.fill(0)
    }
  }

  #timesFromNow(): Pick<Lease, "cmk" | "provedAt" | "refreshAt" | "wallEnd"> {
    const { ttlMs } = this.#entry
    const provedAt = performance.now()
    return {
      cmk: this.#cmk,
      provedAt,
      refreshAt: provedAt + ttlMs * REFRESH_AFTER,
      wallEnd: Date.now() + ttlMs,
    }
  }

  #scope(salt: Uint8Array): WrapContext {
    const { providerId, keyId } = this
    const { owner, covered, environment } = this.#entry
    const scope = { purpose: "leaseKey", providerId, keyId, owner, environment, covered } as const
    return { binding: scopedBinding(scope, salt), covered, owner }
  }

  /** Drops the CMK's leases if it denies. */
  #heeding<T>(call: () => T | Promise<T>): T | Promise<T> {
    try {
      const answer = call()
      return answer instanceof Promise ? answer.catch((error: unknown) => this.#heed(error)) : answer
    } catch (error) {
      return this.#heed(error)
    }
  }

  #heed(error: unknown): never {
    if (DENIALS.has(this.#codeOf(error))) leaseStore.drop(this.#cmk)
    throw error
  }

  #codeOf(error: unknown): FailureCode {
    try {
      return this.classify(error)
    } catch {
      return "UNKNOWN"
    }
  }

  /** A lease serves its own entry: another owner's, or other pairs', would have another scope. */
  #checkEntry({ owner, covered }: WrapContext): void {
    const { owner: own, covered: pairs } = this.#entry
    const isOwn =
      owner === own &&
      (covered === pairs ||
        (covered.length === pairs.length &&
          covered.every(({ name, value }, i) => pairs[i]?.name === name && pairs[i].value === value)))
    if (!isOwn) throw invalid("a leased KEK serves the owner and the pairs it was made for")
  }
}

/** What a leased wrap consists of. */
type LeasedParts = {
  readonly keyVersion: number
  readonly prefix: Uint8Array
  readonly salt: Uint8Array
  readonly wrapped: Uint8Array
  readonly iv: Uint8Array
  readonly sealed: Uint8Array
}

function wrapUnder(lease: Lease, secret: Uint8Array, { binding }: WrapContext): WrapRecord {
  lease.usesLeft--
  const { prefix, key, keyVersion } = lease
  const wrapped = new Uint8Array(prefix.length + IV_BYTES + SEALED_BYTES)
  wrapped.set(prefix)
  const iv = wrapped.subarray(prefix.length, prefix.length + IV_BYTES)
  fillRandom(iv)
  sealInto(key, iv, leasedBinding(binding), secret, wrapped, prefix.length + IV_BYTES)
  return { keyVersion, leased: true, wrapped }
}

function openUnder({ key }: Lease, { iv, sealed }: LeasedParts, { binding }: WrapContext): Uint8Array {
  const secret = open(key, iv, leasedBinding(binding), sealed)
  if (secret === undefined) throw refused()
  return secret
}

/** @throws KeyfoldError `DECRYPTION_FAILED` where the parts do not fill the bytes exactly */
function partsOf({ keyVersion, wrapped: bytes }: WrapRecord): LeasedParts {
  const length =
    bytes.length < SALT_BYTES + 2
      ? -1
      : ((bytes[SALT_BYTES] as number) << 8) | (bytes[SALT_BYTES + 1] as number)
  const end = SALT_BYTES + 2 + length
  if (length < 0 || bytes.length !== end + IV_BYTES + SEALED_BYTES) throw refused()
  return {
    keyVersion,
    prefix: bytes.subarray(0, end),
    salt: bytes.subarray(0, SALT_BYTES),
    wrapped: bytes.subarray(SALT_BYTES + 2, end),
    iv: bytes.subarray(end, end + IV_BYTES),
    sealed: bytes.subarray(end + IV_BYTES),
  }
}

function refused(): KeyfoldError {
  return new KeyfoldError("DECRYPTION_FAILED", "not a leased wrap of this entry")
}

const DENIALS: ReadonlySet<FailureCode> = new Set([
  "KEY_NOT_FOUND",
  "KEY_DISABLED",
  "KEY_PENDING_DELETION",
  "PERMISSION_DENIED",
])
const OUTAGES: ReadonlySet<FailureCode> = new Set(["THROTTLED", "UNAVAILABLE", "TIMEOUT"])
const OFF_STATES: ReadonlySet<KekFacts["state"]> = new Set(["disabled", "pending-deletion", "destroyed"])

/** docs/format.md, "Leased wraps". */
const SALT_BYTES = 16
const IV_BYTES = 12
const SEALED_BYTES = 48
const SECRET_BYTES = 32
const MAX_WRAPPED_LEASE_BYTES = 8192 - SALT_BYTES - 2 - IV_BYTES - SEALED_BYTES
const MAX_USES = 2 ** 20
const DEFAULT_TTL_MS = 60_000
const MAX_TTL_MS = 3_600_000
/** Of a lease that only opens: a view of an envelope would keep all of it. */
const NO_PREFIX = new Uint8Array(0)
/** The part of a lease's time after which it is asked for again. */
const REFRESH_AFTER = 0.75
const REFRESH_DEADLINE_MS = 5_000
/** After an outage. */
const REFRESH_PAUSE_MS = 1_000
/** KEKs that have got a lease in front of them. */
let made = 0
