/** The middle of some values, the higher of two. Sorts them in place. */
export function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1] as number
}
