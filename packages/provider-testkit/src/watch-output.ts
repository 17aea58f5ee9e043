/** Notes what is written to the console, to stdout and to stderr, or warned of, instead of showing it. */
export function watchOutput(): { readonly written: readonly string[]; restore(): void } {
  const written: string[] = []
  const restores: (() => void)[] = []
  for (const stream of [process.stdout, process.stderr]) {
    const { write } = stream
    stream.write = (chunk: unknown): boolean => written.push(String(chunk)) > 0
    restores.push(() => {
      stream.write = write
    })
  }
  // A test runner puts a console of its own in place of Node's, which does not end in the streams above.
  for (const method of ["log", "info", "warn", "error", "debug", "trace"] as const) {
    const original = console[method]
    console[method] = (...values: unknown[]) => void written.push(values.map(String).join(" "))
    restores.push(() => {
      console[method] = original
    })
  }
  const onWarning = (warning: Error) => void written.push(String(warning))
  process.on("warning", onWarning)
  restores.push(() => process.off("warning", onWarning))
  return {
    written,
    restore() {
      for (const restore of restores) restore()
    },
  }
}
