import { type FailureCode, KeyfoldError } from "@keyfold/core"
import { CommanderError } from "commander"
import { removeTemporaryFiles } from "./temporary-files.ts"

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

/** Prints one line, or one JSON object, and ends the process. The stack is shown only where KEYFOLD_DEBUG=1 asks for it. */
export function failWith(error: unknown): never {
  removeTemporaryFiles()
  // Whoever read our output has gone: there is nobody to tell.
  if ((error as { code?: unknown } | null)?.code === "EPIPE") process.exit(1)
  const failure = asFailure(error)
  if (process.env.KEYFOLD_DEBUG === "1") console.error(error)
  if (process.argv.includes("--json")) {
    const { code, message, providerId, keyId, pairNames, retryable } = failure
    console.error(JSON.stringify({ error: { code, message, providerId, keyId, pairNames, retryable } }))
  } else {
    console.error(`error ${failure.code}: ${failure.message}`)
  }
  process.exit(EXIT_CODES[failure.code] ?? 1)
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
    const told = error.code === "commander.help" ? "no command given" : error.message
    const message = told.replace(/^error: /, "").replaceAll("\n", " ")
    return new KeyfoldError("INVALID_ARGUMENT", `${message}; see keyfold --help`)
  }
  if (typeof (error as { code?: unknown } | null)?.code === "string") return fileFailure("a file", error)
  return new KeyfoldError("UNKNOWN", "something unforeseen went wrong; KEYFOLD_DEBUG=1 shows where", {
    cause: error,
  })
}
