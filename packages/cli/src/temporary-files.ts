import { rmSync } from "node:fs"

/** Paths of files that are half written. */
export const temporaryFiles = new Set<string>()

/** Takes half-written files away; safe at any time. */
export function removeTemporaryFiles(): void {
  for (const path of temporaryFiles) rmSync(path, { force: true })
  temporaryFiles.clear()
}

/** On Ctrl-C or a polite kill nothing half-written stays behind. */
export function stopOnSignals(): void {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.once(signal, () => {
      removeTemporaryFiles()
      process.stderr.write("interrupted\n")
      process.exit(code)
    })
  }
}
