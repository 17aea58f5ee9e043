import { strict as assert } from "node:assert"
import { randomBytes } from "node:crypto"
import {
  createKeyfold,
  type FailureCode,
  type Kek,
  type Keyfold,
  KeyfoldError,
  parseContext,
  type Router,
  type WrapContext,
} from "@keyfold/core"

/** Which half of a KEK's work. */
export type Direction = "wrap" | "unwrap"

/** What can go wrong with the calls of a KEK, whatever it talks to. */
export type KekFault =
  /** Its KMS asks for fewer calls, and to wait for one second where its protocol can say so. */
  | "throttle"
  /** Its KMS breaks every connection off, or its store fails. */
  | "unreachable"
  /** Its KMS answers with an internal error. */
  | "server-error"
  /** No answer comes. */
  | "hang"
  /** The answer is cut short. */
  | "truncated"
  /** The answer is not one of the KMS at all. */
  | "garbage"
  /** The answer is another key's, and says so. */
  | "other-key"

/** A provider under test, and the switches of the KMS behind it. Everything starts enabled and permitted. */
export interface KekHarness {
  /** The key that the switches and faults work on. Read anew for each call: a getter may give a fresh one. */
  readonly kek: Kek
  /** Another key of the same provider. */
  readonly otherKek: Kek
  readonly states: {
    disable(): Promise<void>
    enable(): Promise<void>
    scheduleDeletion(): Promise<void>
    /** Takes the deletion back, and leaves the key enabled. */
    cancelDeletion(): Promise<void>
    /** For good. The suite does it last. */
    delete(): Promise<void>
    /** Takes the permission for one direction away from whoever calls. */
    deny(direction: Direction): Promise<void>
    allow(direction: Direction): Promise<void>
  }
  /** Makes every call on `kek` go wrong. The answer takes it back. */
  fault(fault: KekFault): () => void
  /** Calls that still hold a connection. */
  openConnections(): number
  close(): Promise<void>
}

/** One law. It fails by throwing. */
export type Law<Name extends string = string> = {
  readonly name: Name
  readonly run: (bench: Bench) => Promise<void>
}

/** What laws are tested with: a harness, and the engine in front of its key. */
export type Bench = {
  readonly harness: KekHarness
  readonly keyfold: Keyfold
  /** What the KMS is reached through: it decides what an outage is called. */
  readonly medium: "network" | "store"
  /** Every failure that was seen; the last law looks for secrets in them. */
  readonly failures: unknown[]
}

export function createBench(harness: KekHarness, medium: Bench["medium"]): Bench {
  return { harness, medium, failures: [], keyfold: keyfoldOver(harness, DEADLINE_MS) }
}

/** A keyfold whose only key is the harness's. */
export function keyfoldOver(harness: KekHarness, deadlineMs: number): Keyfold {
  const entry = (covered: readonly { readonly name: string; readonly value: string }[]) => ({
    kek: harness.kek,
    covered,
    mask: (1 << covered.length) - 1,
    owner: OWNER,
    companion: undefined,
  })
  const router: Router = {
    forWriting: ({ pairs }) => [entry(pairs)],
    forReading: ({ pairs }) => [{ ...entry(pairs), lastVersion: undefined }],
  }
  return createKeyfold({ router, deadlineMs })
}

/** Runs one direction through the engine and asserts how it fails, and that it does so within the deadline. */
export async function expectFailure(
  bench: Bench,
  direction: Direction,
  envelope: Uint8Array,
  code: FailureCode,
): Promise<KeyfoldError> {
  const { keyfold } = bench
  const startedAt = performance.now()
  const failure = await rejection(
    direction === "wrap"
      ? keyfold.encrypt(PLAINTEXT, { context: CONTEXT })
      : keyfold.decrypt(envelope, { context: CONTEXT }),
  )
  bench.failures.push(failure)
  const tookMs = performance.now() - startedAt
  assert.ok(failure instanceof KeyfoldError, `${direction} threw something that is not a KeyfoldError`)
  assert.equal(failure.code, code, `${direction} gave ${failure.code}, not ${code}: ${failure.message}`)
  assert.ok(tookMs < DEADLINE_MS + GRACE_MS, `${direction} took ${Math.round(tookMs)} ms to fail`)
  return failure
}

/** What a KEK's own call failed with, as the engine would name it. A synchronous throw counts as well. */
export async function codeOf(kek: Kek, call: () => unknown): Promise<FailureCode> {
  const failure = await rejection((async () => call())())
  return failure instanceof KeyfoldError ? failure.code : kek.classify(failure)
}

/** @throws AssertionError where the call succeeds */
export async function rejection(call: Promise<unknown>): Promise<unknown> {
  try {
    await call
  } catch (error) {
    return error
  }
  assert.fail("the call succeeded")
}

/** Waits until the KMS holds no call any more. */
export function untilQuiet(harness: KekHarness): Promise<void> {
  return untilConnections(harness, (count) => count === 0)
}

export async function untilConnections(
  harness: KekHarness,
  holds: (count: number) => boolean,
): Promise<void> {
  const endsAt = performance.now() + GRACE_MS
  while (!holds(harness.openConnections())) {
    assert.ok(performance.now() < endsAt, `${harness.openConnections()} calls hold a connection`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** A wrap context as the engine would make it, for a message with one wrap (docs/format.md, "Wrap binding"). */
export function wrapContext(context: Readonly<Record<string, string>> = CONTEXT): WrapContext {
  const { pairs, digest } = parseContext(context)
  const binding = new Uint8Array(BINDING_BYTES)
  binding.set(new TextEncoder().encode("keyfold/v1/wrap"))
  binding.set([1, 1, 1, 1, 0, (1 << pairs.length) - 1, 0, 0], OFFSET.suite)
  binding.set(randomBytes(16), OFFSET.salt)
  binding.set(digest, OFFSET.digest)
  return { binding, covered: pairs, owner: OWNER }
}

/** The same context with one byte of its binding changed. */
export function withBindingByte(context: WrapContext, offset: number, change = 1): WrapContext {
  const binding = Uint8Array.from(context.binding)
  binding[offset] = (binding[offset] as number) ^ change
  return { ...context, binding }
}

export function randomSecret(): Uint8Array {
  return new Uint8Array(randomBytes(SECRET_BYTES))
}

/** What the engine hands to a KEK: a DEK or a share of one. */
export const SECRET_BYTES = 32
/** Where the fields of a wrap binding stand (docs/format.md, "Wrap binding"). */
export const OFFSET = { suite: 15, purpose: 16, slot: 21, salt: 23, digest: 39 } as const
export const BINDING_BYTES = 71

/** The values are easy to find again in what must not hold them. */
export const CANARY = "canary-7f3a9c"
export const CONTEXT = { data_type: `${CANARY}-ssn`, organization_id: `${CANARY}-org` } as const
export const PLAINTEXT = `${CANARY}-plaintext`
const OWNER = "conformance"

/** Time for each KEK call: enough for an SDK's three tries with their pauses. */
const DEADLINE_MS = 5_000
/** What a slow machine may add to a deadline, or take to notice that a caller hung up. */
const GRACE_MS = 1_500
