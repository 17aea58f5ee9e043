import { setTimeout as sleep } from "node:timers/promises"
import { KeyfoldError } from "@keyfold/core"
import type { CallOptions } from "google-gax"
import { toFailure } from "./failure.ts"

/** One call of Cloud KMS. */
export type BoundedCall<Reply> = {
  /**
   * Resolves when the client has its credentials. The SDK's methods start that too, but leave its failure as an
   * unhandled rejection, which ends the process: so it is awaited first.
   */
  readonly ready: () => Promise<unknown>
  readonly send: (options: CallOptions) => Promise<Reply>
  /** Whether the checksums of a reply hold. */
  readonly isIntact: (reply: Reply) => boolean
  /** The IAM permission that the call needs. */
  readonly permission: string
  /** Bound of all tries together, in milliseconds. */
  readonly timeoutMs: number
  readonly signal: AbortSignal | undefined
}

/**
 * Tries a call up to three times: again after a damaged request or reply, or when Cloud KMS was unreachable.
 * The SDK's own retries are off, for they hide an unreachable service behind a time-out.
 * @throws KeyfoldError the failure, with the denied action, who can mend it and how
 */
export async function boundedCall<Reply>(call: BoundedCall<Reply>): Promise<Reply> {
  const endsAt = performance.now() + call.timeoutMs
  for (let triesLeft = MAX_TRIES - 1; ; triesLeft--) {
    let failure: KeyfoldError
    try {
      return await attempt(call, endsAt)
    } catch (error) {
      failure = call.signal?.aborted ? aborted(call.signal) : toFailure(error, call.permission)
    }
    if (triesLeft === 0 || failure.code !== "UNAVAILABLE") throw failure
    await pause(Math.random() * PAUSE_MS * (MAX_TRIES - triesLeft), call.signal)
  }
}

async function attempt<Reply>(call: BoundedCall<Reply>, endsAt: number): Promise<Reply> {
  await call.ready()
  call.signal?.throwIfAborted()
  const timeout = Math.max(1, Math.ceil(endsAt - performance.now()))
  const reply = await call.send({ timeout, retry: null, ...(call.signal && { signal: call.signal }) })
  if (!call.isIntact(reply)) {
    throw new KeyfoldError("UNAVAILABLE", "a checksum of Cloud KMS's answer does not hold: try again later", {
      side: "network",
      fix: "try again later, and look for a proxy that changes the traffic",
    })
  }
  return reply
}

/** An abort ends the pause, and the next try before it begins. */
async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {})
}

/** The engine aborts with the failure to report; another caller with any reason. */
function aborted(signal: AbortSignal): KeyfoldError {
  return signal.reason instanceof KeyfoldError
    ? signal.reason
    : new KeyfoldError("ABORTED", "the call was aborted by its caller", { cause: signal.reason })
}

/** As many as cloud SDKs make: a broken connection mends by the second. */
const MAX_TRIES = 3
/** Longest first pause in milliseconds; the second may be twice as long. Jitter keeps callers apart. */
const PAUSE_MS = 100
