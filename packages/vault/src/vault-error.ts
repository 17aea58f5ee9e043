/** What a vault refuses for a reason of its own; a fault of keys, contexts or storage is a `KeyfoldError`. */
export type VaultErrorCode =
  | "NOT_FOUND"
  | "NAME_TAKEN"
  | "ID_TAKEN"
  | "VERSION_CONFLICT"
  | "CONTEXT_MISMATCH"
  | "OUT_OF_SCOPE"

/** A refusal of the vault. Switch on its `code`; the message never holds a name, a context value or a value. */
export class VaultError extends Error {
  override readonly name = "VaultError"
  readonly code: VaultErrorCode

  constructor(code: VaultErrorCode) {
    super(MESSAGES[code])
    this.code = code
  }
}

const MESSAGES: Record<VaultErrorCode, string> = {
  NOT_FOUND: "there is no such object or version",
  NAME_TAKEN: "another object has this name: choose a new one, or delete that object first",
  ID_TAKEN: "this id was used for another object: choose a new one",
  VERSION_CONFLICT: "the object has another current version by now: read it again and decide anew",
  CONTEXT_MISMATCH: "the object was written under another key context than the one that was expected",
  OUT_OF_SCOPE: "this caller may not use that key context: its scope names the pairs that it must have",
}
