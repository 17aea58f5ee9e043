import { type Kek, type KeyContext, KeyfoldError, type Pair } from "@keyfold/core"
import {
  type Binding,
  checkOverlap,
  isIn,
  type KeyEntry,
  type ParsedBinding,
  parseBinding,
} from "./binding.ts"
import { displace, isSameKey, withFormerKey } from "./history.ts"
import type { ManagedKeks } from "./managed-keks.ts"
import { invalid, ownFields } from "./plain-data.ts"

/** A binding before it is added. */
export type NewBinding = {
  readonly id: string
  readonly match: KeyContext
  readonly owner: string
  /** Those with which the provider made the KEK. */
  readonly options?: Readonly<Record<string, unknown>>
  readonly expectedRegion?: string | undefined
  /** Of leases on the CMK, in milliseconds, at most 3,600,000; 0, which is off, unless told. */
  readonly leaseTtlMs?: number
  /** Default `active`. */
  readonly state?: "pending" | "active"
}

/** The key that a binding moves to. */
export type NewKey = {
  readonly kek: Kek
  readonly options?: Readonly<Record<string, unknown>>
  readonly expectedRegion?: string | undefined
  /** As it was unless told. */
  readonly leaseTtlMs?: number
}

export type ChangeOptions = {
  readonly managed: ManagedKeks | undefined
  /**
   * Keeps the binding under its id, in the place of what was there; when it has resolved the binding is durable. One
   * change may call it twice. Let one change of bindings be made at a time.
   */
  readonly save: (binding: Binding) => void | Promise<void>
  /** Ends the question to the KMS. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Binds the contexts that hold `match` to a CMK. It asks the KMS whether the key has a public half, makes the companion
 * if so, and, unless the binding stays pending, activates it. After a crash, run it again.
 * @param existing every binding there is, removed ones too
 * @throws KeyfoldError `AMBIGUOUS_BINDING`, `INVALID_ARGUMENT`, `INVALID_CONTEXT`, or what the KMS or a store fails with
 */
export async function addBinding(
  draft: NewBinding,
  kek: Kek,
  existing: readonly Binding[],
  change: ChangeOptions,
): Promise<Binding> {
  const own = ownFields(draft, "a new binding") as NewBinding
  const { id, match, owner, options = {}, expectedRegion, leaseTtlMs, state = "active" } = own
  if (state !== "active" && state !== "pending") throw invalid("a new binding is pending or active")
  const entry = { ...identity(kek), owner, options, publicKey: false, companion: undefined }
  const draftBinding = { id, match, ...entry, leaseTtlMs, state: "pending", expectedRegion, history: [] }
  const bare = parseBinding(draftBinding)
  checkFitsCloud(bare)
  const others = existing.map(parseBinding)
  const former = others.find(({ binding }) => binding.id === id)
  for (const other of others) {
    if (other !== former && other.binding.state !== "removed") checkOverlap(bare, other)
  }
  checkOwner(bare.binding, others)
  if (former !== undefined) checkSame(bare, former)
  if (former !== undefined && former.binding.state !== "removed") {
    const { binding } = former // the same, perhaps not finished
    return state === "active" && isUnused(binding) ? activateBinding(binding, existing, change) : binding
  }
  const binding = await askedOf(bare, kek, change)
  // Kept before anything is closed for it, so that a crash leaves a binding that says why.
  const pending = await saved({ ...binding, history: former?.binding.history ?? [] }, change)
  return state === "active" ? activateBinding(pending, existing, change) : pending
}

/**
 * Lets a pending or verified binding, or a disabled one again, route. Only when one that never was becomes active are the managed KEKs
 * recorded that it displaces, and that of a one-pair match closed: until then its contexts are served as if it were
 * not there. Should it crash in between, writing to that one pair fails with `NO_ROUTE` until it is run again.
 * @param existing every binding there is, removed ones too
 * @throws KeyfoldError `INVALID_ARGUMENT` for a removed binding, or what a store fails with
 */
export async function activateBinding(
  binding: Binding,
  existing: readonly Binding[],
  change: ChangeOptions,
): Promise<Binding> {
  const parsed = parseBinding(binding)
  const { state, history } = parsed.binding
  if (state === "removed") throw invalid("a removed binding has no key: add a new one")
  if (state === "active") return parsed.binding
  if (state === "disabled" || change.managed === undefined) {
    return saved({ ...parsed.binding, state: "active", history }, change)
  }
  const keep = (history: Binding["history"]) => saved({ ...parsed.binding, history }, change)
  const displaced = await displace(parsed, existing, change.managed, keep)
  return saved({ ...parsed.binding, state: "active", history: displaced }, change)
}

/** Makes a binding match and fail: its data is shut, for reading and writing, until it is activated again. */
export async function disableBinding(
  binding: Binding,
  change: Pick<ChangeOptions, "save">,
): Promise<Binding> {
  const parsed = parseBinding(binding).binding
  if (parsed.state === "disabled") return parsed
  if (parsed.state !== "active") throw invalid("only an active binding is disabled: remove one that is not")
  return saved({ ...parsed, state: "disabled" }, change)
}

/**
 * Ends a binding: its key goes whole into history, so that its data stays readable until it is rewrapped, and then the
 * pair may have a managed KEK again. After a crash, run it again before another binding takes the same match.
 */
export async function removeBinding(
  binding: Binding,
  change: Pick<ChangeOptions, "managed" | "save">,
): Promise<Binding> {
  const parsed = parseBinding(binding)
  const { state } = parsed.binding
  const history = isUnused(parsed.binding) ? parsed.binding.history : withFormerKey(parsed.binding)
  const removed =
    state === "removed"
      ? parsed.binding
      : await saved({ ...parsed.binding, state: "removed", history }, change)
  const [pair, ...more] = parsed.match
  if (pair !== undefined && more.length === 0) await change.managed?.reopenPair(pair)
  return removed
}

/**
 * Moves a binding to another key of the same owner. The former key stays in history, the companion stays the same.
 * With the key it has, it changes how that is reached.
 * @param existing every binding there is, removed ones too
 * @throws KeyfoldError `INVALID_ARGUMENT`, or what the KMS or a store fails with
 */
export async function replaceKey(
  binding: Binding,
  key: NewKey,
  existing: readonly Binding[],
  change: ChangeOptions,
): Promise<Binding> {
  const own = ownFields(key, "a new key") as NewKey
  const former = parseBinding(binding).binding
  const { kek, options = {}, expectedRegion, leaseTtlMs = former.leaseTtlMs } = own
  if (former.state === "removed") throw invalid("a removed binding has no key: add a new one")
  const entry = { ...identity(kek), options, publicKey: false, companion: undefined }
  const bare = parseBinding({ ...former, ...entry, expectedRegion, leaseTtlMs })
  checkFitsCloud(bare)
  checkOwner(bare.binding, existing.map(parseBinding))
  const replaced = await askedOf(bare, kek, change)
  const history = isUnused(former) || isSameKey(former, replaced) ? former.history : withFormerKey(former)
  // What was verified was the key as it was reached before.
  const state = former.state === "verified" ? "pending" : former.state
  return saved({ ...replaced, state, history }, change)
}

/**
 * A copy in which a former key no longer opens anything; for a key whose data was all rewrapped. Save it yourself.
 * @throws KeyfoldError `KEY_NOT_FOUND`
 */
export function withoutHistory(binding: Binding, keyId: string): Binding {
  const parsed = parseBinding(binding).binding
  if (!parsed.history.some((entry) => entry.keyId === keyId)) {
    throw new KeyfoldError("KEY_NOT_FOUND", "no entry of this binding's history has that key id")
  }
  return { ...parsed, history: parsed.history.filter((entry) => entry.keyId !== keyId) }
}

/** Whether nothing was ever wrapped for it. */
function isUnused({ state }: Binding): boolean {
  return state === "pending" || state === "verified"
}

/** The binding with what its KMS says of its key, and with a companion if that is a public-key one. */
async function askedOf(
  { binding, match }: ParsedBinding,
  kek: Kek,
  { managed, signal }: ChangeOptions,
): Promise<Binding> {
  if (!(await hasPublicHalf(kek, match, signal))) return binding
  if (managed === undefined) {
    throw invalid(
      "a public-key CMK needs a managed companion, for anyone could wrap under its public half: add a managed provider",
    )
  }
  const companion = await managed.companionFor(binding.owner, match)
  return { ...binding, publicKey: true, companion: companion.keyId }
}

async function hasPublicHalf(
  kek: Kek,
  match: readonly Pair[],
  signal: AbortSignal | undefined,
): Promise<boolean> {
  try {
    return (await kek.describe({ signal })).publicKey
  } catch (cause) {
    if (cause instanceof KeyfoldError && cause.providerId !== undefined) throw cause
    const code = cause instanceof KeyfoldError ? cause.code : kek.classify(cause)
    const why = cause instanceof KeyfoldError ? cause.message : "see the cause"
    throw new KeyfoldError(code, `the ${kek.providerId} key ${kek.keyId} could not be described: ${why}`, {
      providerId: kek.providerId,
      keyId: kek.keyId,
      pairNames: match.map(({ name }) => name),
      cause,
    })
  }
}

/** A customer's key serves one owner: another could read its data with it (threat T6). */
function checkOwner(binding: Binding, others: readonly ParsedBinding[]): void {
  const entries = others.flatMap(({ binding, history }) => [binding, ...history.map(({ entry }) => entry)])
  if (entries.every((entry) => !isSameKey(entry, binding) || entry.owner === binding.owner)) return
  throw invalid("this key is, or was, bound for another owner: a key serves one owner only")
}

/** A binding must not take the place of a different one, whose data would then be shut. */
function checkSame(draft: ParsedBinding, former: ParsedBinding): void {
  const sameMatch = draft.match.length === former.match.length && isIn(draft.match, former.match)
  const sameKey = isSameKey(draft.binding, former.binding) && draft.binding.owner === former.binding.owner
  if (sameMatch && (sameKey || former.binding.state === "removed")) return
  throw invalid(
    `${former.binding.id} is the id of another binding: take a new one, or replace that one's key`,
  )
}

/**
 * AWS KMS is told the pairs of a wrap as its encryption context, verbatim, and refuses some: better now than at the first
 * encryption.
 */
function checkFitsCloud({ binding, match }: ParsedBinding): void {
  if (binding.provider !== "aws-kms") return
  const utf8 = new TextEncoder()
  const bytes = match.reduce((sum, { name, value }) => sum + utf8.encode(name + value).length, 0)
  if (bytes <= MAX_AWS_PAIR_BYTES && !match.some(({ name }) => name.startsWith("aws:"))) return
  throw invalid(
    `AWS KMS takes pairs of at most ${MAX_AWS_PAIR_BYTES} bytes together, and no name that begins with aws:`,
  )
}

function identity({ providerId, keyId }: Kek): Pick<KeyEntry, "provider" | "keyId"> {
  return { provider: providerId, keyId }
}

/** Checks that it reads back, saves it, and gives the copy. */
async function saved(binding: Binding, { save }: Pick<ChangeOptions, "save">): Promise<Binding> {
  const { binding: checked } = parseBinding(binding)
  await save(checked)
  return checked
}

/** The 4,096 bytes of an encryption context but those of `keyfold:binding` (docs/format.md, "Wrapped bytes"). */
const MAX_AWS_PAIR_BYTES = 4096 - 15 - 43
