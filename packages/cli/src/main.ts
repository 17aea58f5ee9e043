#!/usr/bin/env node
/** The `keyfold` command. */
import { CommanderError } from "commander"
import { failWith, fileFailure, stopOnSignals } from "./failure.ts"
import { buildProgram } from "./program.ts"

/** Node 22 warns that node:sqlite is experimental; that one warning says nothing to who runs a command. */
function silenceSqliteWarning(): void {
  const { emitWarning } = process
  process.emitWarning = ((warning: string | Error, ...rest: never[]) => {
    if (String(warning).includes("SQLite is an experimental feature")) return
    emitWarning.call(process, warning, ...rest)
  }) as typeof process.emitWarning
}

silenceSqliteWarning()
stopOnSignals()
// Also what is printed without waiting, such as help, can meet a reader that has gone or a full disk.
process.stdout.on("error", (error) => failWith(fileFailure("cannot write standard output", error)))
try {
  await buildProgram().parseAsync()
} catch (error) {
  // Help and the version also end the parser so, with 0.
  if (!(error instanceof CommanderError && error.exitCode === 0)) failWith(error)
}
