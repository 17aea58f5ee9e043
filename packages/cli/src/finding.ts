import { type FailureCode, KeyfoldError } from "@keyfold/core"

/** What `doctor` found of one thing. */
export type Finding = {
  readonly id:
    | "node"
    | "home"
    | "permissions"
    | "store"
    | "secrets"
    | "disk"
    | "bindings"
    | "clock"
    | "provider"
  readonly status: "pass" | "warn" | "fail" | "skipped"
  readonly message: string
  readonly fix: string | null
  /** Of a failure; its exit code is the command's. */
  readonly code: FailureCode | null
}

export function skip(id: Finding["id"], why: string): Finding {
  return { id, status: "skipped", message: why, fix: null, code: null }
}

export function pass(id: Finding["id"], message: string): Finding {
  return { id, status: "pass", message, fix: null, code: null }
}

export function fail(id: Finding["id"], code: FailureCode, message: string, fix: string): Finding {
  return { id, status: "fail", message, fix, code }
}

/** What a check met: its own code, and its own way out where it names one. */
export function failed(id: Finding["id"], error: unknown, fix: string): Finding {
  if (!(error instanceof KeyfoldError)) throw error
  return fail(id, error.code, error.message, error.fix ?? fix)
}
