import { type KeyContext, KeyfoldError, MANAGED_PROVIDER_ID, type Pair, parseContext } from "@keyfold/core"
import { checkLeaseTtl } from "./leased.ts"
import { copyPlain, type Fields, invalid, ownFields, shown } from "./plain-data.ts"

/** A key of a provider, with whose it is and how it is reached. */
export type KeyEntry = {
  /** Provider id, such as `aws-kms`. */
  readonly provider: string
  readonly keyId: string
  /** Whose key it is: not empty, and never changed. */
  readonly owner: string
  /** What the provider needs to reach the key: region, endpoint, role, authority; typed by the provider. */
  readonly options: Readonly<Record<string, unknown>>
  /** Whether the key has a public half, and so a managed companion (design.md, law 2). */
  readonly publicKey: boolean
  /** Key id of the companion; set if and only if `publicKey`. */
  readonly companion: string | undefined
  /** How long the CMK is not asked again under a lease, in milliseconds, at most 3,600,000; 0 is no leases. */
  readonly leaseTtlMs: number
}

/** A former entry. It only unwraps. That of a displaced managed KEK has the owner `""` and no options. */
export type HistoryEntry = KeyEntry & {
  /** It may open contexts that hold these pairs, which are its binding's, or those and more. */
  readonly match: KeyContext
  /** Names of the pairs its wraps cover, all in `match`. */
  readonly pairs: readonly string[]
  /** Highest key version it opens; undefined where there is no bound. */
  readonly lastVersion: number | undefined
  /** ISO 8601. */
  readonly closedAt: string
}

/**
 * A random secret that a CMK wrapped under a tenant's own context, kept to see that it still opens. Plain data; it opens
 * nothing. Made by a validation (`@keyfold/byok`).
 */
export type Canary = {
  readonly provider: string
  readonly keyId: string
  readonly keyVersion: number
  /** All three base64url: 16 bytes of the wrap binding, the wrapped bytes, SHA-256 of the secret. */
  readonly salt: string
  readonly wrapped: string
  readonly digest: string
  /** ISO 8601. */
  readonly madeAt: string
}

/** "Contexts that hold these pairs use this CMK." Its wraps cover the whole match. Plain data: keep it as JSON. */
export type Binding = KeyEntry & {
  readonly id: string
  readonly match: KeyContext
  /**
   * `pending` does not match, nor does `verified`, whose key has passed a validation; `disabled` matches and fails;
   * `removed` only has history.
   */
  readonly state: "pending" | "verified" | "active" | "disabled" | "removed"
  /** Where the key must be; checked by validation. */
  readonly expectedRegion: string | undefined
  readonly history: readonly HistoryEntry[]
  /** One for each key version that was ever validated, oldest first; none for a binding that never was. */
  readonly canaries: readonly Canary[]
}

/** A binding as routing uses it: a validated, frozen copy. */
export type ParsedBinding = {
  readonly binding: Binding
  /** Sorted by name. */
  readonly match: readonly Pair[]
  readonly history: readonly ParsedFormer[]
}

export type ParsedFormer = {
  readonly entry: HistoryEntry
  readonly match: readonly Pair[]
  /** The pairs of `match` that its wraps cover. */
  readonly covered: readonly Pair[]
}

/**
 * Reads a binding from anywhere, its own properties only, each once (threat T11).
 * @throws KeyfoldError `INVALID_ARGUMENT`, `INVALID_CONTEXT` for a match that is not a key context
 */
export function parseBinding(value: unknown): ParsedBinding {
  const fields = ownFields(value, "a binding")
  const { id, state, expectedRegion, history, canaries = [] } = fields
  if (!isText(id)) throw invalid("a binding needs an id")
  if (!isState(state)) throw invalid("a binding's state is pending, verified, active, disabled or removed")
  if (expectedRegion !== undefined && !isText(expectedRegion)) throw invalid("an expected region is a name")
  if (!Array.isArray(history)) throw invalid("a binding's history is a list")
  if (!Array.isArray(canaries) || canaries.length > MAX_CANARIES) {
    throw invalid(`a binding's canaries are a list of at most ${MAX_CANARIES}`)
  }
  const entry = parseEntry(fields)
  if (entry.provider === MANAGED_PROVIDER_ID)
    throw invalid("a binding's key is a customer's, not a managed KEK")
  const match = parseContext(fields.match as KeyContext)
  const formers = Array.from(history, (former) => parseFormer(former, match.pairs))
  const binding: Binding = {
    id,
    match: match.object,
    ...entry,
    state,
    expectedRegion,
    history: Object.freeze(formers.map(({ entry }) => entry)),
    canaries: Object.freeze(Array.from(canaries, parseCanary)),
  }
  return { binding: Object.freeze(binding), match: match.pairs, history: formers }
}

/** Whether all of these pairs stand in the context. */
export function isIn(match: readonly Pair[], context: readonly Pair[]): boolean {
  return match.every(({ name, value }) => context.some((pair) => pair.name === name && pair.value === value))
}

/** Whether a binding routes: a disabled one does, and fails. */
export function matches({ state }: Binding): boolean {
  return state === "active" || state === "disabled"
}

/**
 * Two bindings that can match one context and share a pair must be nested and of one owner (design.md, law 4).
 * @throws KeyfoldError `AMBIGUOUS_BINDING`, naming both by their ids
 */
export function checkOverlap(a: ParsedBinding, b: ParsedBinding): void {
  const shared: string[] = []
  for (const { name, value } of a.match) {
    const other = b.match.find((pair) => pair.name === name)
    if (other === undefined) continue
    if (other.value !== value) return // no context has both
    shared.push(name)
  }
  if (shared.length === 0) return
  const shorter = Math.min(a.match.length, b.match.length)
  const nested = a.match.length !== b.match.length && shared.length === shorter
  if (nested && a.binding.owner === b.binding.owner) return
  throw new KeyfoldError(
    "AMBIGUOUS_BINDING",
    `the bindings ${a.binding.id} and ${b.binding.id} can both claim the pair ${shown(shared)} of one context: ` +
      "only bindings of one owner may overlap, and one must hold every pair of the other",
    { pairNames: shared },
  )
}

function parseEntry(fields: Fields): KeyEntry {
  const { provider, keyId, owner, options, publicKey, companion, leaseTtlMs = 0 } = fields
  if (typeof provider !== "string" || !PROVIDER_ID.test(provider)) {
    throw invalid(`a binding names a provider: ${PROVIDER_ID.source}`)
  }
  const managed = provider === MANAGED_PROVIDER_ID
  if (typeof keyId !== "string" || !(managed ? MANAGED_KEY_ID : KEY_ID).test(keyId)) {
    throw invalid("a binding names a key by its native id, 1 to 1,024 printable characters without a space")
  }
  if (managed ? owner !== "" : !isText(owner)) throw invalid("a binding needs an owner")
  if (typeof publicKey !== "boolean" || (managed && publicKey)) {
    throw invalid("publicKey says whether a binding's key has a public half")
  }
  const fits = publicKey
    ? typeof companion === "string" && MANAGED_KEY_ID.test(companion)
    : companion === undefined
  if (!fits) throw invalid("a public-key binding has a companion, the id of a managed KEK, and no other has")
  checkLeaseTtl(leaseTtlMs)
  return {
    provider,
    keyId,
    owner: owner as string,
    options: copyPlain(ownFields(options, "a binding's options")) as KeyEntry["options"],
    publicKey,
    companion: companion as string | undefined,
    leaseTtlMs,
  }
}

function parseFormer(value: unknown, bindingMatch: readonly Pair[]): ParsedFormer {
  const fields = ownFields(value, "a history entry")
  const { pairs, lastVersion, closedAt } = fields
  const match = parseContext(fields.match as KeyContext)
  // So whoever looks bindings up by their own match finds all history that a context needs.
  if (!isIn(bindingMatch, match.pairs))
    throw invalid("the match of a history entry holds every pair of its binding's")
  const names: unknown[] = Array.isArray(pairs) ? [...pairs] : []
  const covered = match.pairs.filter(({ name }) => names.includes(name))
  if (covered.length === 0 || covered.length !== names.length) {
    throw invalid("a history entry covers pairs of its own match, one at least")
  }
  if (lastVersion !== undefined && !isVersion(lastVersion)) throw invalid("lastVersion is a key version")
  if (typeof closedAt !== "string" || Number.isNaN(Date.parse(closedAt))) {
    throw invalid("closedAt is a time in ISO 8601")
  }
  const entry: HistoryEntry = {
    match: match.object,
    pairs: Object.freeze(covered.map(({ name }) => name)),
    ...parseEntry(fields),
    lastVersion,
    closedAt,
  }
  return { entry: Object.freeze(entry), match: match.pairs, covered }
}

function parseCanary(value: unknown): Canary {
  const { provider, keyId, keyVersion, salt, wrapped, digest, madeAt } = ownFields(value, "a canary")
  const isWhole =
    typeof provider === "string" &&
    PROVIDER_ID.test(provider) &&
    typeof keyId === "string" &&
    KEY_ID.test(keyId) &&
    isVersion(keyVersion) &&
    isBase64url(salt) &&
    isBase64url(wrapped) &&
    isBase64url(digest) &&
    typeof madeAt === "string" &&
    !Number.isNaN(Date.parse(madeAt))
  if (!isWhole) throw invalid("a canary is kept as a validation gave it")
  return Object.freeze({ provider, keyId, keyVersion, salt, wrapped, digest, madeAt })
}

/** As long as a wrap of 8 KiB becomes. */
function isBase64url(value: unknown): value is string {
  return typeof value === "string" && /^[\w-]{1,10923}$/.test(value)
}

function isState(value: unknown): value is Binding["state"] {
  return STATES.includes(value as Binding["state"])
}

function isText(value: unknown): value is string {
  return (
    typeof value === "string" &&
    value !== "" &&
    value.isWellFormed() &&
    value.length <= MAX_TEXT_BYTES &&
    new TextEncoder().encode(value).length <= MAX_TEXT_BYTES
  )
}

function isVersion(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffffffff
}

const STATES: readonly Binding["state"][] = ["pending", "verified", "active", "disabled", "removed"]
/** Of a key that rotates every month, eight years. */
const MAX_CANARIES = 100
/** docs/format.md, "Layout", "Canonical form" and "Key ids". */
const PROVIDER_ID = /^[a-z0-9-]{1,32}$/
const KEY_ID = /^[!-~]{1,1024}$/
const MANAGED_KEY_ID = /^[0-9a-f]{32}$/
/** Of UTF-8: as long as an owner in the scope of a lease key may be (docs/format.md, "Wrap binding"). */
const MAX_TEXT_BYTES = 1024
