import { fillRandom } from "@keyfold/core/crypto"
import { type KeyContext, type Pair, type ParsedContext, parseContext, sameContext } from "./context.ts"
import {
  type Header,
  headerLength,
  immutableBytes,
  type Kind,
  lowestBit,
  type Policy,
  parseHeader,
  type Wrap,
  writeHeader,
} from "./envelope.ts"
import { decryptionFailed, type FailureCode, KeyfoldError } from "./errors.ts"
import {
  aborted,
  emit,
  type KeyfoldEvent,
  type Operation,
  type OperationName,
  throwIfAborted,
} from "./kek-call.ts"
import { deriveKeys, type EnvelopeKeys, writeMac } from "./key-schedule.ts"
import { Slab } from "./memory.ts"
import type { RouteEntry, Router } from "./route.ts"
import { type Opened, openHeader, verifyHeader } from "./unwrap.ts"
import { DEK_BYTES, wrapDek } from "./wrap.ts"

/** What every operation of one keyfold shares. */
export type Engine = {
  readonly router: Router
  readonly deadlineMs: number
  readonly onEvent: ((event: KeyfoldEvent) => void) | undefined
}

/** How a caller says which key context an envelope has, and that it may open it. */
export type OpenOptions = {
  /** The key context it was encrypted under. Where one is embedded as well, both must be equal. */
  readonly context?: KeyContext
  /**
   * For an envelope that embeds its context: decides whether this caller may open data of that context. Called once,
   * before any KEK is, with a frozen validated copy that is not authentic yet; only `true` lets it pass. Not called
   * where `context` is given.
   */
  readonly authorize?: (context: KeyContext) => boolean | Promise<boolean>
  /** Ends the operation, which then fails with `ABORTED`. */
  readonly signal?: AbortSignal
}

/** A new envelope before its payload. Whoever has it wipes `keys`. */
export type Begun = {
  readonly immutable: Uint8Array
  readonly keys: EnvelopeKeys
  readonly headerBytes: number
  /** Writes the whole header at the start of `out`. */
  readonly writeHeaderTo: (out: Uint8Array) => void
}

/** An envelope whose header is authentic. Whoever has it wipes `dek` and `keys`. */
export type OpenedEnvelope = Opened & { readonly header: Header; readonly context: ParsedContext }

/** Runs one operation: its abort signal, its event, and one class for whatever it throws. Never throws, but rejects. */
export function runOperation<T, Options extends { readonly signal?: AbortSignal }>(
  engine: Engine,
  name: OperationName,
  options: Options,
  run: (operation: Operation, options: Options) => T | Promise<T>,
  inFlight?: Operation["inFlight"],
): Promise<T> {
  const { deadlineMs, onEvent } = engine
  const startedAt = onEvent === undefined ? 0 : performance.now()
  let signal: AbortSignal | undefined
  const tell = (code: FailureCode | undefined) => {
    if (onEvent === undefined) return
    const durationMs = performance.now() - startedAt
    emit(onEvent, { type: "operation", operation: name, code, durationMs })
  }
  const fail = (error: unknown): Promise<never> => {
    const failure = asKeyfoldError(error, signal)
    tell(failure.code)
    return Promise.reject(failure)
  }
  try {
    // Own properties only, each read once: what Object.prototype was polluted with never opens or embeds anything.
    const own = ownOptions(options)
    signal = own.signal
    throwIfAborted(signal)
    const result = run({ name, deadlineMs, signal, onEvent, inFlight }, own)
    if (result instanceof Promise) {
      return (signal === undefined ? result : unlessAborted(result, signal)).then((value) => {
        tell(undefined)
        return value
      }, fail)
    }
    tell(undefined)
    return Promise.resolve(result)
  } catch (error) {
    return fail(error)
  }
}

/** Draws a DEK, wraps it under the route of `context`, and derives the keys of the new envelope. */
export function beginEnvelope(
  engine: Engine,
  operation: Operation,
  context: ParsedContext,
  options: { kind: Kind; segmentExponent: number; policy: Policy | undefined; embedContext: boolean },
): Begun | Promise<Begun> {
  const policy = options.policy ?? "all"
  checkPolicyName(policy)
  const embedded = options.embedContext ? context : undefined
  return chain(engine.router.forWriting(context, operation), (entries) => {
    throwIfAborted(operation.signal)
    checkCoverage(entries, context)
    const immutable = immutableBytes(options.kind, options.segmentExponent, context.pairs.length)
    const dek = deks.take(DEK_BYTES)
    fillRandom(dek)
    return wiping(
      dek,
      () => wrapDek(operation, dek, immutable, context, policy, entries),
      (wraps) => {
        const headerBytes = headerLength(wraps, embedded)
        const keys = deriveKeys(dek, immutable, context.digest)
        const writeHeaderTo = (out: Uint8Array) =>
          writeSealedHeader(out.subarray(0, headerBytes), immutable, policy, wraps, embedded, keys)
        return { immutable, keys, headerBytes, writeHeaderTo }
      },
    )
  })
}

/** Parses, routes, unwraps and checks a header. `bytes` may hold more than it. */
export function openEnvelope(
  engine: Engine,
  operation: Operation,
  bytes: Uint8Array,
  options: OpenOptions,
): OpenedEnvelope | Promise<OpenedEnvelope> {
  const given = givenContext(options)
  const header = parseHeader(bytes)
  return chain(contextOf(header, given, options), (context) => {
    throwIfAborted(operation.signal)
    if (header.pairCount !== context.pairs.length) throw decryptionFailed()
    return chain(engine.router.forReading(context, operation), (candidates) => {
      throwIfAborted(operation.signal)
      return chain(openHeader(operation, header, context, candidates), ({ dek, keys }) => ({
        header,
        context,
        dek,
        keys,
      }))
    })
  })
}

/**
 * New wraps for an opened envelope: same DEK, salt, context and kind. The header it gives has been parsed and opened
 * again, under `any` by each of its wraps alone; the old one is untouched.
 */
export async function rewrapHeader(
  engine: Engine,
  operation: Operation,
  opened: OpenedEnvelope,
  newPolicy: Policy | undefined,
): Promise<Uint8Array> {
  const { header, context, dek, keys } = opened
  const policy = newPolicy ?? header.policy
  const entries = await engine.router.forWriting(context, operation)
  throwIfAborted(operation.signal)
  checkCoverage(entries, context)
  const wraps = await wrapDek(operation, dek, header.bytes, context, policy, entries)
  const bytes = new Uint8Array(headerLength(wraps, header.embedded))
  writeSealedHeader(bytes, header.bytes, policy, wraps, header.embedded, keys)
  const candidates = await engine.router.forReading(context, operation)
  throwIfAborted(operation.signal)
  await verifyHeader(operation, parseHeader(bytes), context, candidates)
  return bytes
}

/** Goes on at once where there is no promise to wait for. */
export function chain<T, R>(value: T | Promise<T>, next: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}

function writeSealedHeader(
  out: Uint8Array,
  immutable: Uint8Array,
  policy: Policy,
  wraps: readonly Wrap[],
  embedded: ParsedContext | undefined,
  keys: EnvelopeKeys,
): void {
  writeHeader(out, immutable, policy, wraps, embedded)
  writeMac(keys.header, out)
}

/** Runs two steps and wipes `secret` after the last of them, or when one fails. */
function wiping<T, R>(
  secret: Uint8Array,
  first: () => T | Promise<T>,
  second: (value: T) => R,
): R | Promise<R> {
  const last = (value: T): R => {
    try {
      return second(value)
    } finally {
      secret.fill(0)
    }
  }
  let value: T | Promise<T>
  try {
    value = first()
  } catch (error) {
    secret.fill(0)
    throw error
  }
  if (!(value instanceof Promise)) return last(value)
  return value.then(last, (error: unknown) => {
    secret.fill(0)
    throw error
  })
}

/** @throws KeyfoldError `INVALID_ARGUMENT` where there is neither a context nor a way to authorize one */
function givenContext(options: OpenOptions): ParsedContext | undefined {
  if (options.context !== undefined) return parseContext(options.context)
  if (options.authorize === undefined) throw needsContext()
  if (typeof options.authorize !== "function") {
    throw new KeyfoldError("INVALID_ARGUMENT", "authorize is a function of the embedded key context")
  }
  return undefined
}

function contextOf(
  header: Header,
  given: ParsedContext | undefined,
  { authorize }: OpenOptions,
): ParsedContext | Promise<ParsedContext> {
  const { embedded } = header
  if (given !== undefined) {
    if (embedded !== undefined && !sameContext(embedded, given)) throw decryptionFailed()
    return given
  }
  if (embedded === undefined) throw needsContext()
  return authorized(embedded, authorize as NonNullable<OpenOptions["authorize"]>)
}

async function authorized(
  context: ParsedContext,
  authorize: NonNullable<OpenOptions["authorize"]>,
): Promise<ParsedContext> {
  let allowed: boolean
  try {
    allowed = await authorize(context.object)
  } catch {
    throw decryptionFailed() // why a caller was refused is not told to it (law 7)
  }
  if (allowed !== true) throw decryptionFailed()
  return context
}

function needsContext(): KeyfoldError {
  return new KeyfoldError(
    "INVALID_ARGUMENT",
    "give the key context this was encrypted under, or, where the envelope embeds it, an authorize function",
  )
}

function ownOptions<Options extends { readonly signal?: AbortSignal }>(given: Options): Options {
  if (typeof given !== "object" || given === null) {
    throw new KeyfoldError("INVALID_ARGUMENT", "give an object of options, such as { context }")
  }
  const options = { __proto__: null, ...given }
  const { signal } = options as { signal?: unknown }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "signal must be an AbortSignal")
  }
  return options
}

export function checkPolicyName(policy: unknown): void {
  if (policy !== "all" && policy !== "any") {
    throw new KeyfoldError("INVALID_ARGUMENT", 'policy is "all" or "any"')
  }
}

/** A router that leaves a pair out, or covers one twice, would lose or weaken every envelope: trust none. */
function checkCoverage(entries: readonly RouteEntry[], context: ParsedContext): void {
  const { pairs } = context
  let seen = 0
  for (let i = 0; i < entries.length; i++) {
    const { mask, covered } = entries[i] as RouteEntry
    if (mask === 0 || (seen & mask) !== 0 || !isMaskOf(mask, covered, pairs)) throw notCovered()
    seen |= mask
  }
  if (seen !== 2 ** pairs.length - 1) throw notCovered()
}

/** Whether a bitmap stands for just these pairs of the context. */
function isMaskOf(mask: number, covered: readonly Pair[], pairs: readonly Pair[]): boolean {
  let rest = mask
  for (let i = 0; i < covered.length; i++) {
    const pair = covered[i] as Pair
    const own = pairs[31 - Math.clz32(lowestBit(rest))]
    if (own === undefined || (own !== pair && (own.name !== pair.name || own.value !== pair.value)))
      return false
    rest &= rest - 1
  }
  return rest === 0
}

function notCovered(): KeyfoldError {
  return new KeyfoldError("NO_ROUTE", "the router did not cover every pair of the key context exactly once")
}

/** Rejects as soon as the signal fires, also where a source or a lookup does not listen to it. */
function unlessAborted<T>(result: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(aborted(signal))
    signal.addEventListener("abort", onAbort)
    if (signal.aborted) onAbort()
    result.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort))
  })
}

/** One class for whatever was thrown; an abort goes before all. */
export function asKeyfoldError(error: unknown, signal: AbortSignal | undefined): KeyfoldError {
  if (signal?.aborted) return aborted(signal)
  if (error instanceof KeyfoldError) return error
  return new KeyfoldError("UNKNOWN", "an error that keyfold cannot name; see the cause", { cause: error })
}

/** Never lent: KEKs get copies. */
const deks = new Slab()
