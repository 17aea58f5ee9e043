/** How much y grows by x, and twice its standard error: where points scatter by chance, 95 of 100 errors are smaller. */
export type Slope = { readonly slope: number; readonly error: number }

/** Of the straight line with the least squares. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): Slope {
  const sum = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0)
  const meanX = sum(points.map(([x]) => x)) / points.length
  const meanY = sum(points.map(([, y]) => y)) / points.length
  const spread = sum(points.map(([x]) => (x - meanX) ** 2))
  const slope = sum(points.map(([x, y]) => (x - meanX) * (y - meanY))) / spread
  const squares = sum(points.map(([x, y]) => (y - meanY - slope * (x - meanX)) ** 2))
  return { slope, error: 2 * Math.sqrt(squares / (points.length - 2) / spread) }
}
