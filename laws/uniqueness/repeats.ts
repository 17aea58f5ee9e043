/** What may never repeat: of each random value its first 8 bytes are kept, which says more than the whole would. */
export const VALUES = ["envelope salt", "data key", "wrap IV", "wrap salt"] as const

/** How many of these values stand there more than once. Sorts them in place. */
export function countRepeats(values: BigUint64Array): number {
  values.sort()
  let repeats = 0
  for (let i = 1; i < values.length; i++) if (values[i] === values[i - 1]) repeats++
  return repeats
}
