/**
 * `pnpm fuzz [--runs N] [--seed S] [--case I] [--tamper]`: attacks everything that reads what others wrote. Runs
 * are repeated by their seed; `--case` runs one case of a seed and tells what it does. `--tamper` changes 200 envelopes
 * bit by bit instead. Ends with 1 if anything was found, or it was stopped before the end.
 */

import { parseArgs } from "node:util"
import { Worker } from "node:worker_threads"
import { seedSystemRandom } from "./chance.ts"
import type { Finding } from "./run.ts"
import { makeSamples } from "./samples.ts"
import { tamper } from "./tamper.ts"
import { openVault } from "./vault.ts"
import type { WorkerData } from "./worker.ts"

/** Of each kind of finding; a fault is often met a thousand times. */
const SHOWN = 5
const TAMPERED = 200
/** More than this after the warm-up is a leak. A short run still fills its caches and compiles. */
const MAX_MEMORY_MEBIBYTES = 32
const MAX_SHORT_MEMORY_MEBIBYTES = 128
const SHORT_RUN = 100_000
const NOT_BEGUN = -1n
/** Making keys and envelopes before the first case, also on a busy machine. */
const SETUP_MS = 60_000

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "200000" },
    seed: { type: "string", default: "1" },
    case: { type: "string" },
    tamper: { type: "boolean", default: false },
    /** For the fuzzer's own tests. */
    subject: { type: "string" },
    "hang-ms": { type: "string", default: "10000" },
  },
})
const seed = wholeNumber("seed", values.seed)
process.exitCode = values.tamper ? await tamperAll() : await fuzz()

async function fuzz(): Promise<number> {
  const single = values.case === undefined ? undefined : wholeNumber("case", values.case)
  const first = single ?? 0
  const end = single === undefined ? wholeNumber("runs", values.runs) : single + 1
  const hangMs = wholeNumber("hang-ms", values["hang-ms"])
  const counts: Record<Finding["kind"], number> = { accepted: 0, untyped: 0, leaked: 0 }
  let hung = 0
  let failure = ""
  let memoryBytes: number | undefined
  const progress = new SharedArrayBuffer(16)
  const current = new BigInt64Array(progress)
  current[0] = NOT_BEGUN
  const workerData: WorkerData = { seed, first, end, progress, subject: values.subject }
  const worker = new Worker(new URL("worker.ts", import.meta.url), { workerData })
  worker.on("message", (message: { finding?: Finding; memoryBytes?: number }) => {
    if (message.memoryBytes !== undefined) memoryBytes = message.memoryBytes
    const { finding } = message
    if (finding === undefined) return
    counts[finding.kind]++
    if (counts[finding.kind] <= SHOWN) report(finding)
  })
  worker.on("error", (error: Error) => {
    failure = String(error.stack)
  })
  const stop = () => {
    current[1] = 1n
  }
  process.once("SIGINT", stop).once("SIGTERM", stop)
  const ended = new Promise<void>((resolve) => worker.once("exit", () => resolve()))
  let last = NOT_BEGUN
  let lastAt = performance.now()
  const watch = setInterval(() => {
    const now = current[0] as bigint
    if (now !== last) {
      last = now
      lastAt = performance.now()
    } else if (
      performance.now() - lastAt > (now === NOT_BEGUN ? SETUP_MS : hangMs) &&
      memoryBytes === undefined
    ) {
      void worker.terminate()
    }
    if (process.stderr.isTTY) process.stderr.write(`\r${now < 0n ? 0 : now} of ${end} `)
  }, 250)
  await ended
  clearInterval(watch)
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K")
  const at = Math.max(first, Number(current[0]))
  if (failure !== "") console.log(`the run broke at case ${at}: ${failure}`)
  else if (memoryBytes === undefined) {
    hung++
    console.log(`hung: case ${at}; run it again: pnpm fuzz --seed ${seed} --case ${at}`)
  }
  const isStopped = current[1] !== 0n
  const ran = memoryBytes === undefined || isStopped ? at - first : end - first
  const mebibytes = (memoryBytes ?? 0) / 2 ** 20
  const maxMebibytes = end - first < SHORT_RUN ? MAX_SHORT_MEMORY_MEBIBYTES : MAX_MEMORY_MEBIBYTES
  const { accepted, untyped, leaked } = counts
  console.log(
    `ran ${ran}, accepted ${accepted}, untyped ${untyped}, hung ${hung}, leaked ${leaked}, memory +${mebibytes.toFixed(1)} MiB`,
  )
  const isClean = failure === "" && accepted + untyped + hung + leaked === 0 && mebibytes < maxMebibytes
  return isClean ? 0 : 1
}

function report({ kind, what, index, steps }: Finding): void {
  console.log(`${kind}: ${what}`)
  for (const step of steps) console.log(`  ${step}`)
  console.log(`  run it again: pnpm fuzz --seed ${seed} --case ${index}`)
}

async function tamperAll(): Promise<number> {
  seedSystemRandom(seed, 2 ** 31 - 1)
  await using vault = await openVault()
  const samples = await makeSamples(vault, seed, TAMPERED)
  const { tried, accepted, untyped } = await tamper(vault, samples, 1, (done) => {
    if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${samples.length} envelopes `)
  })
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K")
  for (const line of [...accepted.slice(0, SHOWN), ...untyped.slice(0, SHOWN)]) console.log(line)
  console.log(
    `changed ${samples.length} envelopes in ${tried} ways, accepted ${accepted.length}, untyped ${untyped.length}`,
  )
  return accepted.length + untyped.length === 0 ? 0 : 1
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) {
    console.error(`--${name} is a whole number`)
    process.exit(2)
  }
  return value
}
