import { KeyfoldError } from "@keyfold/core"
import type { AwsKmsClient, RegionalKey } from "./aws-kms.ts"
import { toFailure } from "./failure.ts"

export type RegionalCall<Reply> = {
  readonly send: (client: AwsKmsClient, arn: string, abortSignal: AbortSignal) => Promise<Reply>
  /** The IAM action that the call needs. */
  readonly action: string
  readonly signal: AbortSignal | undefined
  readonly onRequest?: (() => void) | undefined
  /** How long a region may take while there is another one to ask, in milliseconds. */
  readonly failoverAfterMs: number
}

/**
 * Makes a call, and where a region is out makes it in the next one, once in each. A denial, or any other answer about
 * the key, is final in whatever region. Trying again later is up to the caller (`resilient` of `@keyfold/router`).
 * @throws KeyfoldError the last failure, with the denied action, who can mend it and how
 */
export async function callInRegions<Reply>(
  keys: readonly RegionalKey[],
  call: RegionalCall<Reply>,
): Promise<Reply> {
  for (let i = 0; ; i++) {
    const isLast = i === keys.length - 1
    try {
      return await attempt(keys[i] as RegionalKey, call, !isLast)
    } catch (error) {
      const failure = call.signal?.aborted ? aborted(call.signal) : toFailure(error, call.action)
      const isOutage = failure.code === "UNAVAILABLE" || failure.code === "TIMEOUT"
      if (isLast || !isOutage) throw failure
    }
  }
}

async function attempt<Reply>(
  { arn, client }: RegionalKey,
  { send, signal, onRequest, failoverAfterMs }: RegionalCall<Reply>,
  isBounded: boolean,
): Promise<Reply> {
  signal?.throwIfAborted()
  const bound = isBounded ? AbortSignal.timeout(failoverAfterMs) : undefined
  const signals = [signal, bound].filter((each) => each !== undefined)
  onRequest?.()
  try {
    return await send(client(), arn, AbortSignal.any(signals))
  } catch (error) {
    if (!bound?.aborted) throw error
    throw new KeyfoldError("TIMEOUT", `its region did not answer within ${failoverAfterMs} ms`, {
      cause: error,
    })
  }
}

/** The engine aborts with the failure to report; another caller with any reason. */
function aborted(signal: AbortSignal): KeyfoldError {
  return signal.reason instanceof KeyfoldError
    ? signal.reason
    : new KeyfoldError("ABORTED", "the call was aborted by its caller", { cause: signal.reason })
}
