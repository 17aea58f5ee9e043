import { setTimeout as sleep } from "node:timers/promises"
import { KeyfoldError } from "@keyfold/core"
import type { AwsKmsClient, RegionalKey } from "./aws-kms.ts"
import { toFailure } from "./failure.ts"

export type RegionalCall<Reply> = {
  readonly send: (client: AwsKmsClient, arn: string, abortSignal: AbortSignal) => Promise<Reply>
  /** The IAM action that the call needs. */
  readonly action: string
  readonly signal: AbortSignal | undefined
  /** How long a region may take while there is another one to ask, in milliseconds. */
  readonly failoverAfterMs: number
}

/**
 * Makes a call, again in the same region where AWS KMS throttles, in the next one where it is out, three times in
 * all and in each region at least once. A denial, or any other answer about the key, is final in whatever region.
 * @throws KeyfoldError the last failure, with the denied action, who can mend it and how
 */
export async function callInRegions<Reply>(
  keys: readonly RegionalKey[],
  call: RegionalCall<Reply>,
): Promise<Reply> {
  const tries = Math.max(MAX_TRIES, keys.length)
  let region = 0
  for (let left = tries - 1; ; left--) {
    const key = keys[region % keys.length] as RegionalKey
    let failure: KeyfoldError
    try {
      return await attempt(key, call, keys.length > 1 && left > 0)
    } catch (error) {
      failure = call.signal?.aborted ? aborted(call.signal) : toFailure(error, call.action)
    }
    const { code, retryAfterMs = 0 } = failure
    const isOutage = code === "UNAVAILABLE" || (code === "TIMEOUT" && keys.length > 1)
    const canWait = code === "THROTTLED" && retryAfterMs <= MAX_WAIT_MS
    if (left === 0 || !(isOutage || canWait)) throw failure
    if (isOutage) region++
    // Full jitter, so that many callers do not come back at once; none before another region is asked.
    if (region % keys.length === 0 || canWait) {
      await pause(Math.max(retryAfterMs, Math.random() * PAUSE_MS * (tries - left)), call.signal)
    }
  }
}

async function attempt<Reply>(
  { arn, client }: RegionalKey,
  { send, signal, failoverAfterMs }: RegionalCall<Reply>,
  isBounded: boolean,
): Promise<Reply> {
  signal?.throwIfAborted()
  const bound = isBounded ? AbortSignal.timeout(failoverAfterMs) : undefined
  const signals = [signal, bound].filter((each) => each !== undefined)
  try {
    return await send(client(), arn, AbortSignal.any(signals))
  } catch (error) {
    if (!bound?.aborted) throw error
    throw new KeyfoldError("TIMEOUT", `its region did not answer within ${failoverAfterMs} ms`, {
      cause: error,
    })
  }
}

async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {}) // the next try finds the signal fired
}

/** The engine aborts with the failure to report; another caller with any reason. */
function aborted(signal: AbortSignal): KeyfoldError {
  return signal.reason instanceof KeyfoldError
    ? signal.reason
    : new KeyfoldError("ABORTED", "the call was aborted by its caller", { cause: signal.reason })
}

/** As many as the SDK itself would make. */
const MAX_TRIES = 3
/** Longest first pause in milliseconds; the second is twice as long. */
const PAUSE_MS = 100
/** A longer wait than this, in milliseconds, is the caller's to decide. */
const MAX_WAIT_MS = 1_000
