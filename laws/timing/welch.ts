/**
 * Whether two kinds of input take different times: Welch's t of many interleaved samples, as in "Dude, is my code constant
 * time?" (Reparaz, Balasch, Verbauwhede, 2017).
 */
export type Subject = {
  readonly name: string
  /** Makes the input differ in its first byte or in its last; not timed. */
  readonly prepare: (late: boolean) => void
  readonly call: () => unknown
}

/** Above this the times differ, says the paper. */
export const MAX_T = 4.5

/** |t| of the times of both kinds, the slowest tenth of all left out: interrupts and garbage collection. */
export function timingDifference({ prepare, call }: Subject, samples: number): number {
  const times = new Float64Array(samples)
  const lates = new Uint8Array(samples).map(() => (Math.random() < 0.5 ? 1 : 0))
  for (let i = 0; i < WARM_UP; i++) {
    prepare(i % 2 === 0)
    call()
  }
  for (let i = 0; i < samples; i++) {
    prepare(lates[i] === 1)
    const start = process.hrtime.bigint()
    for (let j = 0; j < REPEATS; j++) call()
    times[i] = Number(process.hrtime.bigint() - start)
  }
  const limit = times.toSorted()[Math.floor(samples * KEPT)] as number
  const kinds = [new Moments(), new Moments()] as const
  for (let i = 0; i < samples; i++) {
    if ((times[i] as number) <= limit) kinds[lates[i] as 0 | 1].add(times[i] as number)
  }
  const [early, late] = kinds
  return (
    Math.abs(early.mean - late.mean) / Math.sqrt(early.variance / early.count + late.variance / late.count)
  )
}

/** Mean and variance of a series (Welford). */
class Moments {
  count = 0
  mean = 0
  #squares = 0

  add(value: number): void {
    this.count++
    const distance = value - this.mean
    this.mean += distance / this.count
    this.#squares += distance * (value - this.mean)
  }

  get variance(): number {
    return this.#squares / (this.count - 1)
  }
}

const WARM_UP = 20_000
/** Calls in one sample: the clock is coarser than one comparison. */
const REPEATS = 4
const KEPT = 0.9
