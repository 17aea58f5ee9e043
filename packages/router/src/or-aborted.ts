/**
 * Settles as the answer does, or with the signal's reason if that fires first.
 * @param discard is given an answer that comes after that
 */
export function orAborted<T>(
  answer: T | Promise<T>,
  signal: AbortSignal,
  discard: (late: T) => void = () => {},
): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason)
    signal.addEventListener("abort", onAbort, { once: true })
    if (signal.aborted) onAbort()
    Promise.resolve(answer)
      .then((value) => (signal.aborted ? discard(value) : resolve(value)), reject)
      .finally(() => signal.removeEventListener("abort", onAbort))
  })
}
