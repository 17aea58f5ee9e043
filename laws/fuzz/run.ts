/** Runs cases one after another, and looks at everything that was thrown. */
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Keyfold } from "@keyfold/core"
import { formsOf, leakIn, shownBy } from "./canary.ts"
import { type CaseLog, runCase, type Target } from "./cases.ts"
import { Chance, seedSystemRandom } from "./chance.ts"
import { makeSamples, openSample } from "./samples.ts"
import { MARKS, openVault } from "./vault.ts"

export type RunOptions = {
  readonly seed: number
  /** Numbers of the first case, and of the one after the last. */
  readonly first: number
  readonly end: number
  /** Told before each case; gives whether to stop. */
  readonly onCase: (index: number) => boolean
  readonly onFinding: (finding: Finding) => void
  /** Replaces what is attacked, so that the fuzzer itself can be tried. */
  readonly subject: ((keyfold: Keyfold) => Keyfold) | undefined
}

/** A case that must not be, with what repeats it. */
export type Finding = {
  readonly kind: "accepted" | "untyped" | "leaked"
  readonly what: string
  readonly index: number
  readonly steps: readonly string[]
}

/** @returns growth of the resident set after the warm-up, in bytes, garbage collected before each look */
export async function run(options: RunOptions): Promise<number> {
  const { seed, first, end, onCase, onFinding } = options
  seedSystemRandom(seed, 2 ** 31 - 1)
  const vault = await openVault(options.subject)
  const samples = await makeSamples(vault, seed, SAMPLES)
  const target: Target = { vault, samples }
  const prototype = Object.getOwnPropertyNames(Object.prototype).join()
  const marks = Object.values(MARKS).flatMap((mark) => formsOf(Buffer.from(mark)))
  const warmUp = first + Math.min(MAX_WARM_UP, Math.floor((end - first) / 2))
  let baseline = 0
  let peak = 0
  let current = first
  const onRejection = (error: unknown) => {
    onFinding({ kind: "untyped", what: `nobody awaited: ${shownBy(error)}`, index: current, steps: [] })
  }
  process.on("unhandledRejection", onRejection)

  for (let index = first; index < end; index++) {
    if (onCase(index)) break
    current = index
    const log: CaseLog = { steps: [], errors: [], findings: [] }
    seedSystemRandom(seed, index)
    const chance = new Chance(seed, index)
    await runCase(target, chance, log)
    for (const { kind, what } of log.findings) onFinding({ kind, what, index, steps: log.steps })
    const leak = leakOf(log, marks, vault.secrets)
    if (leak !== undefined) onFinding({ kind: "leaked", what: leak, index, steps: log.steps })
    if (index % CONTROL_EVERY === 0) {
      vault.beginCase()
      const sample = chance.pick(samples)
      const opened = Buffer.from(await openSample(vault, sample))
      if (!opened.equals(sample.plaintext))
        throw new Error(`the sample ${sample.name} opens to something else`)
      if (Object.getOwnPropertyNames(Object.prototype).join() !== prototype) {
        onFinding({ kind: "accepted", what: "Object.prototype has changed", index, steps: [] })
      }
    }
    if (index === warmUp) baseline = residentBytes()
    if (index % MEMORY_EVERY === 0 && index > warmUp) peak = Math.max(peak, residentBytes())
  }
  peak = Math.max(peak, residentBytes())
  await new Promise((resolve) => setImmediate(resolve))
  process.off("unhandledRejection", onRejection)
  await vault[Symbol.asyncDispose]()
  return Math.max(0, peak - baseline)
}

function leakOf(log: CaseLog, marks: readonly string[], secrets: readonly Uint8Array[]): string | undefined {
  for (const error of log.errors) {
    const text = shownBy(error)
    // What an earlier case has shown, word for word, cannot hold the secrets of this one.
    if (searched.has(text)) continue
    if (searched.size >= MAX_SEARCHED) searched.clear()
    searched.add(text)
    const found = leakIn(text, marks) ?? leakIn(text, secrets.filter(isSecret).flatMap(formsOf))
    if (found !== undefined) return `${JSON.stringify(found)} in ${text}`
  }
  return undefined
}

/** A case can make a KEK give zeros or nothing; those say nothing. */
function isSecret(bytes: Uint8Array): boolean {
  return bytes.length >= 16 && new Set(bytes).size > 4
}

function residentBytes(): number {
  collectGarbage()
  return process.memoryUsage.rss()
}

/** The places in the code that an error shows take the most time of all, and hold no secret. */
Error.stackTraceLimit = 3
setFlagsFromString("--expose-gc")
const collectGarbage = runInNewContext("gc") as () => void

/** Texts that hold no secret; a few kilobytes each. */
const searched = new Set<string>()
const MAX_SEARCHED = 1000
/** By then the caches are full, which are bounded, and the code is compiled. */
const MAX_WARM_UP = 50_000
const SAMPLES = 100
const CONTROL_EVERY = 1000
const MEMORY_EVERY = 10_000
