import { sha256 } from "@keyfold/core/crypto"
import type { ParsedContext } from "./context.ts"
import { type Header, identityOf, POLICY_BYTE, saltOf, sameIdentity, type Wrap } from "./envelope.ts"
import { decryptionFailed, KeyfoldError } from "./errors.ts"
import { worstFailure } from "./failure-order.ts"
import type { Kek } from "./kek.ts"
import { callUnwrap, type Operation } from "./kek-call.ts"
import { deriveKeys, type EnvelopeKeys, macHolds } from "./key-schedule.ts"
import { lend } from "./memory.ts"
import type { ReadCandidate } from "./route.ts"
import { allowsAny, DEK_BYTES } from "./wrap.ts"
import { BINDING_BYTES, type EnvelopeBinding, ROLE, SUITE, wrapBinding } from "./wrap-binding.ts"

/** An envelope whose header MAC has held. Wipe both when done. */
export type Opened = { readonly dek: Uint8Array; readonly keys: EnvelopeKeys }

/**
 * Judges a header against the read candidates of its context, unwraps its DEK and checks its MAC. No KEK is called
 * before every wrap has matched a candidate (design.md, law 5). That the context has as many pairs as the header says
 * was judged before the router was asked.
 * @throws KeyfoldError `DECRYPTION_FAILED`, or what a KEK failed with
 */
export function openHeader(
  operation: Operation,
  header: Header,
  context: ParsedContext,
  candidates: readonly ReadCandidate[],
): Opened | Promise<Opened> {
  const slots = matchWraps(header, candidates)
  return header.policy === "all"
    ? openWithAll(operation, header, context, slots)
    : openWithAny(operation, header, context, slots)
}

/**
 * Opens a header that was just made, and under `any` each of its wraps by itself: a reader may have to do with any one
 * of them. Keeps nothing of what it opened.
 * @throws KeyfoldError like `openHeader`; under `any` also where a single wrap does not hold the DEK
 */
export async function verifyHeader(
  operation: Operation,
  header: Header,
  context: ParsedContext,
  candidates: readonly ReadCandidate[],
): Promise<void> {
  const slots = matchWraps(header, candidates)
  const results =
    header.policy === "all"
      ? [await openWithAll(operation, header, context, slots)]
      : await openEach(operation, header, context, slots)
  const failures: KeyfoldError[] = []
  for (const result of results) {
    if (result instanceof KeyfoldError) {
      failures.push(result)
    } else {
      wipe(result.dek)
      result.keys.wipe()
    }
  }
  // Every KEK has to take part here, as under `all`.
  if (failures.length > 0) throw worstFailure(failures, "all")
}

type Slot = { readonly wrap: Wrap; readonly kek: Kek; readonly candidate: ReadCandidate }

/** Match, coverage and companions, the `any` rule: in this order, and all before the first call. */
function matchWraps(header: Header, candidates: readonly ReadCandidate[]): readonly Slot[] {
  const { wraps, policy } = header
  const slots: Slot[] = []
  let seen = 0
  for (let i = 0; i < wraps.length; i++) {
    const wrap = wraps[i] as Wrap
    const next = wraps[i + 1]?.role === ROLE.companion ? wraps[i + 1] : undefined
    const candidate = candidateFor(candidates, wrap, next)
    if (candidate === undefined || (seen & wrap.mask) !== 0) throw decryptionFailed()
    seen |= wrap.mask
    slots.push({ wrap, kek: candidate.kek, candidate })
    if (next !== undefined) {
      slots.push({ wrap: next, kek: candidate.companion as Kek, candidate })
      i++
    }
  }
  if (seen !== 2 ** header.pairCount - 1) throw decryptionFailed()
  if (policy === "any" && !allowsAny(slots.map(({ candidate }) => candidate))) throw decryptionFailed()
  return slots
}

function candidateFor(
  candidates: readonly ReadCandidate[],
  wrap: Wrap,
  next: Wrap | undefined,
): ReadCandidate | undefined {
  for (const candidate of candidates) if (opens(candidate, wrap, next)) return candidate
  return undefined
}

/** Whether a wrap, with the companion that follows it, is one that this candidate could have made. */
function opens(candidate: ReadCandidate, wrap: Wrap, next: Wrap | undefined): boolean {
  const { kek, companion, mask, lastVersion } = candidate
  return (
    wrap.role !== ROLE.companion &&
    wrap.mask === mask &&
    (lastVersion === undefined || wrap.keyVersion <= lastVersion) &&
    sameIdentity(wrap.identity, identityOf(kek)) &&
    (companion === undefined
      ? next === undefined
      : next !== undefined && sameIdentity(next.identity, identityOf(companion)))
  )
}

function openWithAll(
  operation: Operation,
  header: Header,
  context: ParsedContext,
  slots: readonly Slot[],
): Opened | Promise<Opened> {
  let pending = false
  const of = bindingOf(header, context)
  const answers = slots.map((slot, i) => {
    const answer = unwrapSlot(operation, of, slot, i)
    if (answer instanceof Promise) pending = true
    return answer
  })
  const finish = (results: readonly (Uint8Array | KeyfoldError)[]): Opened => {
    const dek = joinShares(results)
    const opened = tryDek(dek, header, context)
    if (opened === undefined) throw decryptionFailed()
    return opened
  }
  if (!pending) return finish(answers as (Uint8Array | KeyfoldError)[])
  return Promise.all(answers).then(finish)
}

async function openWithAny(
  operation: Operation,
  header: Header,
  context: ParsedContext,
  slots: readonly Slot[],
): Promise<Opened> {
  const failures: KeyfoldError[] = []
  const of = bindingOf(header, context)
  for (const [i, slot] of slots.entries()) {
    const result = await openSlot(operation, header, context, of, slot, i)
    if (!(result instanceof KeyfoldError)) return result
    failures.push(result)
  }
  throw worstFailure(failures, "any")
}

/** Each slot alone, all at once. */
function openEach(
  operation: Operation,
  header: Header,
  context: ParsedContext,
  slots: readonly Slot[],
): Promise<(Opened | KeyfoldError)[]> {
  const of = bindingOf(header, context)
  return Promise.all(slots.map((slot, i) => openSlot(operation, header, context, of, slot, i)))
}

/** What one wrap of an `any` envelope opens by itself. Never throws: a failure is returned. */
async function openSlot(
  operation: Operation,
  header: Header,
  context: ParsedContext,
  of: EnvelopeBinding,
  slot: Slot,
  position: number,
): Promise<Opened | KeyfoldError> {
  const result = await unwrapSlot(operation, of, slot, position)
  if (result instanceof KeyfoldError) return result
  return tryDek(result, header, context) ?? decryptionFailed()
}

function bindingOf(header: Header, context: ParsedContext): EnvelopeBinding {
  return {
    suite: SUITE,
    kind: header.kind,
    policy: POLICY_BYTE[header.policy],
    wrapCount: header.wraps.length,
    salt: saltOf(header.bytes),
    contextDigest: context.digest,
  }
}

function unwrapSlot(
  operation: Operation,
  of: EnvelopeBinding,
  { wrap, kek, candidate }: Slot,
  slot: number,
): Uint8Array | KeyfoldError | Promise<Uint8Array | KeyfoldError> {
  const { covered, owner } = candidate
  const binding = wrapBinding(of, wrap.mask, slot, wrap.role, lend(kek, BINDING_BYTES))
  const wrapContext = { binding, covered, owner }
  const { inFlight } = operation
  if (inFlight === undefined) return callUnwrap(operation, kek, wrap, wrapContext)
  return shareCall(inFlight, flightKey(wrap, binding), () => callUnwrap(operation, kek, wrap, wrapContext))
}

/**
 * Lets equal unwraps in flight share one call, each with its own copy of the secret. A failure is not shared: who
 * waited for it makes a call of its own.
 */
function shareCall(
  inFlight: Map<string, Promise<Uint8Array>>,
  key: string,
  call: () => Uint8Array | KeyfoldError | Promise<Uint8Array | KeyfoldError>,
): Uint8Array | KeyfoldError | Promise<Uint8Array | KeyfoldError> {
  const running = inFlight.get(key)
  if (running !== undefined) return running.then(copyOf, call)
  const answer = call()
  if (!(answer instanceof Promise)) return answer
  const shared = answer.then((result) => {
    if (result instanceof KeyfoldError) throw result
    return result
  })
  inFlight.set(key, shared)
  return shared.then(
    (secret) => {
      inFlight.delete(key)
      const own = copyOf(secret)
      // Whoever waits has subscribed already, so its copy is made before this microtask.
      queueMicrotask(() => secret.fill(0))
      return own
    },
    (error: KeyfoldError) => {
      inFlight.delete(key)
      return error
    },
  )
}

/** Never a view: slice() of a Buffer would be one. */
function copyOf(secret: Uint8Array): Uint8Array {
  return Uint8Array.from(secret)
}

/** The binding holds salt, slot and context; with the wrap itself it names one unwrap and no other. */
function flightKey(wrap: Wrap, binding: Uint8Array): string {
  const bytes = new Uint8Array(binding.length + wrap.identity.length + 4 + wrap.wrapped.length)
  bytes.set(binding)
  bytes.set(wrap.identity, binding.length)
  new DataView(bytes.buffer).setUint32(binding.length + wrap.identity.length, wrap.keyVersion)
  bytes.set(wrap.wrapped, binding.length + wrap.identity.length + 4)
  return String.fromCharCode(...sha256(bytes))
}

/** XOR of all shares, each of 32 bytes (callUnwrap); wipes them. @throws the failure to report, if a share is missing */
function joinShares(results: readonly (Uint8Array | KeyfoldError)[]): Uint8Array {
  if (results.some((result) => result instanceof KeyfoldError)) {
    for (const result of results) if (!(result instanceof KeyfoldError)) wipe(result)
    throw worstFailure(
      results.filter((result) => result instanceof KeyfoldError),
      "all",
    )
  }
  const shares = results as readonly Uint8Array[]
  const dek = shares[0] as Uint8Array
  for (let next = 1; next < shares.length; next++) {
    const share = shares[next] as Uint8Array
    for (let i = 0; i < DEK_BYTES; i++) dek[i] = (dek[i] as number) ^ (share[i] as number)
    wipe(share)
  }
  return dek
}

/** The opened header if this DEK's MAC holds; otherwise wipes it. A DEK of zeros, which forgers can reach, never does. */
function tryDek(dek: Uint8Array, header: Header, context: ParsedContext): Opened | undefined {
  if (!isZero(dek)) {
    const keys = deriveKeys(dek, header.bytes, context.digest)
    if (macHolds(keys.header, header.bytes)) return { dek, keys }
    keys.wipe()
  }
  wipe(dek)
  return undefined
}

function isZero(bytes: Uint8Array): boolean {
  let or = 0
  for (const byte of bytes) or |= byte
  return or === 0
}

function wipe(bytes: Uint8Array): void {
  bytes.fill(0)
}
