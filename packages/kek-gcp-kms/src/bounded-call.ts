import { KeyfoldError } from "@keyfold/core"
import type { CallOptions } from "google-gax"
import { damagedReply, isDamage, toFailure } from "./failure.ts"

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
  readonly onRequest: (() => void) | undefined
}

/**
 * Makes a call, and again, three times in all, where a checksum tells that request or reply was damaged. For every other
 * failure that is up to the caller (`resilient` of `@keyfold/router`). The SDK's own retries are off, for they hide an
 * unreachable service behind a time-out.
 * @throws KeyfoldError the failure, with the denied action, who can mend it and how
 */
export async function boundedCall<Reply>(call: BoundedCall<Reply>): Promise<Reply> {
  const endsAt = performance.now() + call.timeoutMs
  for (let triesLeft = MAX_TRIES - 1; ; triesLeft--) {
    try {
      return await attempt(call, endsAt)
    } catch (error) {
      if (call.signal?.aborted) throw aborted(call.signal)
      if (triesLeft === 0 || !isDamage(error)) throw toFailure(error, call.permission)
    }
  }
}

async function attempt<Reply>(call: BoundedCall<Reply>, endsAt: number): Promise<Reply> {
  await call.ready()
  call.signal?.throwIfAborted()
  call.onRequest?.()
  const timeout = Math.max(1, Math.ceil(endsAt - performance.now()))
  const reply = await call.send({ timeout, retry: null, ...(call.signal && { signal: call.signal }) })
  if (!call.isIntact(reply)) throw damagedReply()
  return reply
}

/** The engine aborts with the failure to report; another caller with any reason. */
function aborted(signal: AbortSignal): KeyfoldError {
  return signal.reason instanceof KeyfoldError
    ? signal.reason
    : new KeyfoldError("ABORTED", "the call was aborted by its caller", { cause: signal.reason })
}

/** As many as cloud SDKs make. */
const MAX_TRIES = 3
