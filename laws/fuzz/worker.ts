/** The thread in which the cases run, so that one that hangs can be ended. */
import { parentPort, workerData } from "node:worker_threads"
import { run } from "./run.ts"

export type WorkerData = {
  readonly seed: number
  readonly first: number
  readonly end: number
  /** Two numbers of 64 bits: the case under way, and another than 0 to stop. */
  readonly progress: SharedArrayBuffer
  /** URL of a module whose default export replaces what is attacked. */
  readonly subject: string | undefined
}

const { seed, first, end, progress, subject } = workerData as WorkerData
const current = new BigInt64Array(progress)
const memoryBytes = await run({
  seed,
  first,
  end,
  onCase: (index) => {
    current[0] = BigInt(index)
    return current[1] !== 0n
  },
  onFinding: (finding) => parentPort?.postMessage({ finding }),
  subject: subject === undefined ? undefined : (await import(subject)).default,
})
parentPort?.postMessage({ memoryBytes })
