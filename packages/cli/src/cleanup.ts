import { rmSync } from "node:fs"

const undoings = new Set<() => void>()

/** Has `undo` run if the command fails or is interrupted from now on; what this gives back takes that back. */
export function onFailure(undo: () => void): () => void {
  undoings.add(undo)
  return () => undoings.delete(undo)
}

/** Runs what was left to be undone. */
export function undoAll(): void {
  for (const undo of undoings) undo()
  undoings.clear()
}

/** Takes a half-written file away on failure, and what SQLite keeps beside it; `keep` it when it is whole. */
export function temporaryFile(path: string): { readonly keep: () => void } {
  const keep = onFailure(() => {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(path + suffix, { force: true })
  })
  return { keep }
}
