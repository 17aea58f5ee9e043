import type { Policy } from "./envelope.ts"
import type { FailureCode, KeyfoldError } from "./errors.ts"

/**
 * Which of several failures is reported (design.md, law 7): under `all` a denial, then a failed decryption, then
 * what is temporary; under `any` the temporary first, for then a later try may open. Ties go to the lowest slot.
 */
export function worstFailure(failures: readonly KeyfoldError[], policy: Policy): KeyfoldError {
  const order = policy === "all" ? ALL_ORDER : ANY_ORDER
  return failures.reduce((worst, failure) =>
    order.indexOf(classOf(failure.code)) < order.indexOf(classOf(worst.code)) ? failure : worst,
  )
}

type FailureClass = "aborted" | "denied" | "failed" | "temporary" | "other"

function classOf(code: FailureCode): FailureClass {
  switch (code) {
    case "ABORTED":
      return "aborted"
    case "KEY_NOT_FOUND":
    case "KEY_DISABLED":
    case "KEY_PENDING_DELETION":
    case "PERMISSION_DENIED":
      return "denied"
    case "DECRYPTION_FAILED":
      return "failed"
    case "THROTTLED":
    case "UNAVAILABLE":
    case "TIMEOUT":
      return "temporary"
    default:
      return "other"
  }
}

const ALL_ORDER: readonly FailureClass[] = ["aborted", "denied", "failed", "other", "temporary"]
const ANY_ORDER: readonly FailureClass[] = ["aborted", "temporary", "other", "denied", "failed"]
