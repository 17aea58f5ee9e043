import { type FailureCode, KeyfoldError } from "@keyfold/core"
import { CommanderError } from "commander"
import { undoAll } from "./cleanup.ts"

/** Exit codes by failure code; 1 for what is not listed. */
const EXIT_CODES: Partial<Record<FailureCode, number>> = {
  INVALID_ARGUMENT: 2,
  INVALID_CONTEXT: 2,
  NO_ROUTE: 2,
  AMBIGUOUS_BINDING: 2,
  MALFORMED_ENVELOPE: 3,
  UNSUPPORTED_VERSION: 3,
  DECRYPTION_FAILED: 3,
  KEY_NOT_FOUND: 4,
  KEY_DISABLED: 4,
  KEY_PENDING_DELETION: 4,
  PERMISSION_DENIED: 4,
  STORE_FAILED: 5,
  STORE_FULL: 5,
  STORE_CORRUPT: 5,
  THROTTLED: 6,
  UNAVAILABLE: 6,
  TIMEOUT: 6,
  ABORTED: 130,
}

/** Undoes what is half done, prints one line, or one JSON object, and ends the process. KEYFOLD_DEBUG=1 adds the stack. */
export function failWith(error: unknown): never {
  undoAll()
  // Whoever read our output has gone: there is nobody to tell.
  if (isBrokenPipe(error)) process.exit(1)
  const failure = asFailure(error)
  if (process.env.KEYFOLD_DEBUG === "1") console.error(failure)
  if (ownArguments().includes("--json")) {
    const { code, message, providerId, keyId, pairNames, retryable } = failure
    console.error(JSON.stringify({ error: { code, message, providerId, keyId, pairNames, retryable } }))
  } else {
    console.error(`error ${failure.code}: ${printable(failure.message)}`)
  }
  process.exit(exitCodeOf(failure.code))
}

/** Without those that `exec` hands on. */
function ownArguments(): readonly string[] {
  const end = process.argv.indexOf("--")
  return end < 0 ? process.argv : process.argv.slice(0, end)
}

/** What the command ends with for a failure. */
export function exitCodeOf(code: FailureCode): number {
  return EXIT_CODES[code] ?? 1
}

/** On Ctrl-C, a polite kill or the end of the terminal nothing half written stays behind. */
export function stopOnSignals(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => failWith(new KeyfoldError("ABORTED", "interrupted: run it again")))
  }
}

/** Resolves on the first such signal, for a command that is ended by one; the second ends the process at once. */
export function untilSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.removeAllListeners(signal)
      process.once(signal, () => {
        stopOnSignals()
        resolve()
      })
    }
  })
}

/** A text on one line, without what could steer a terminal: pair names and file names can hold anything. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0)?.toString(16)}}`)
}

/** What an operation on a file failed with, by the system's own error code. */
export function fileFailure(what: string, error: unknown): KeyfoldError {
  if (error instanceof KeyfoldError) return error
  const { code } = error as { code?: string }
  if (code === "ENOSPC" || code === "EDQUOT")
    return new KeyfoldError("STORE_FULL", `${what}: no room is left on the disk`, { cause: error })
  if (code === "ENOENT" || code === "EISDIR" || code === "ENOTDIR") {
    const why = {
      ENOENT: "there is no such file or folder",
      EISDIR: "it is a folder",
      ENOTDIR: "a part of its path is no folder",
    }[code]
    return new KeyfoldError("INVALID_ARGUMENT", `${what}: ${why}`, { cause: error })
  }
  const why = {
    EACCES: "permission denied",
    EPERM: "not permitted",
    EROFS: "the file system is read-only",
    EIO: "the disk failed",
  }[code ?? ""]
  return new KeyfoldError("STORE_FAILED", `${what}: ${why ?? code ?? "it failed"}`, { cause: error })
}

function asFailure(error: unknown): KeyfoldError {
  if (error instanceof KeyfoldError) return error
  if (error instanceof CommanderError) {
    return new KeyfoldError("INVALID_ARGUMENT", `${usageProblem(error)}; see keyfold --help`)
  }
  if (typeof (error as { code?: unknown } | null)?.code === "string") {
    return fileFailure("reading or writing", error)
  }
  return new KeyfoldError("UNKNOWN", "something unforeseen went wrong; KEYFOLD_DEBUG=1 shows where", {
    cause: error,
  })
}

/** What the parser says, without what could be a context value: a mistyped -c makes one an unknown argument. */
function usageProblem({ code, message }: CommanderError): string {
  if (code === "commander.help") return "no command given"
  const told = message.replace(/^error: /, "").replaceAll("\n", " ")
  if (code === "commander.excessArguments") return told.replace(/: .*$/, "")
  return told.replace(/=[^']*/g, "=…")
}

function isBrokenPipe(error: unknown): boolean {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: { code?: unknown } }
  return code === "EPIPE" || cause?.code === "EPIPE"
}
