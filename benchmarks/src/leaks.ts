/**
 * `pnpm bench --leaks [--minutes 10] [--json] [--write]`: a mixed load, every method of keyfold and its failures, with
 * heap and resident memory sampled after a collection. Started by bench.ts with --expose-gc.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setImmediate as turn } from "node:timers/promises"
import { parseArgs } from "node:util"
import { createKeyfold, type KeyContext, type Keyfold } from "@keyfold/core"
import { createManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"
import { keep } from "./results.ts"
import { type Slope, slopeOf } from "./slope.ts"
import { contextOf } from "./variants.ts"

export type Sample = { readonly minutes: number; readonly heap_mib: number; readonly rss_mib: number }
export type Leaks = {
  readonly node: string
  readonly minutes: number
  /** Of the load: one of each method, and of each failure. */
  readonly rounds: number
  /** In MiB an hour, of the samples after the first fifth, in which code is compiled and caches fill. */
  readonly heap: Slope
  readonly rss: Slope
  readonly samples: readonly Sample[]
}

const SAMPLE_MS = 5000
const PAYLOADS = [32, 1024, 65_536, 300_000].map((bytes) => new Uint8Array(bytes).fill(7))

const { values: options } = parseArgs({
  options: {
    minutes: { type: "string", default: "10" },
    json: { type: "boolean" },
    write: { type: "boolean" },
    leaks: { type: "boolean" },
  },
})
const folder = mkdtempSync(join(tmpdir(), "keyfold-leaks-"))
try {
  const leaks = await watch(join(folder, "keks.db"), Number(options.minutes))
  if (options.json) console.log(JSON.stringify(leaks))
  else
    console.log(
      `${leaks.rounds} rounds in ${leaks.minutes} minutes\n${tell("heap", leaks.heap)}\n${tell("RSS", leaks.rss)}`,
    )
  if (options.write) keep("leaks", leaks)
} finally {
  rmSync(folder, { recursive: true })
}

async function watch(storePath: string, minutes: number): Promise<Leaks> {
  const root = { key: new Uint8Array(32).fill(7) }
  const managed = await createManagedProvider({ store: sqliteStore(storePath), root, environment: "bench" })
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  const samples: Sample[] = []
  const started = performance.now()
  let rounds = 0
  for (let next = 0; performance.now() - started < minutes * 60_000; rounds++) {
    await workload(keyfold, rounds)
    await turn()
    if (performance.now() - started < next) continue
    next += SAMPLE_MS
    globalThis.gc?.()
    const { heapUsed, rss } = process.memoryUsage()
    const at = (performance.now() - started) / 60_000
    samples.push({ minutes: at, heap_mib: heapUsed / 2 ** 20, rss_mib: rss / 2 ** 20 })
  }
  await managed.close()
  const steady = samples.slice(Math.floor(samples.length / 5))
  const { node } = process.versions
  return {
    ...{ node, minutes, rounds },
    heap: slopeOf(steady.map(({ minutes, heap_mib }) => [minutes / 60, heap_mib])),
    rss: slopeOf(steady.map(({ minutes, rss_mib }) => [minutes / 60, rss_mib])),
    samples,
  }
}

/** Every method once, what must fail, and what is ended half-way. */
async function workload(keyfold: Keyfold, i: number): Promise<void> {
  const context = contextOf(i, [1, 3, 10][i % 3] as number)
  const plaintext = PAYLOADS[i % PAYLOADS.length] as Uint8Array<ArrayBuffer>
  const envelope = await keyfold.encrypt(plaintext, { context, embedContext: i % 2 === 0 })
  await keyfold.decrypt(envelope, { context })
  await keyfold.decryptRange(envelope, 3, 20, { context })
  const rewrapped = await keyfold.rewrap(envelope, { context })
  await keyfold.decrypt(await keyfold.reencrypt(rewrapped, { context }), { context })
  const { sealed } = await keyfold.generateDataKey({ context })
  const newContext = contextOf(i + 1, 2)
  await keyfold.decryptDataKey(await keyfold.rekeyDataKey(sealed, { context, newContext }), {
    context: newContext,
  })
  await keyfold.encryptMany([
    { plaintext, context },
    { plaintext: "text", context },
  ])
  await keyfold.decryptMany([
    { envelope, context },
    { envelope: "no envelope", context },
  ])

  const encrypted = await keyfold.encryptStream(streamOf(plaintext), { context, segmentBytes: 4096 })
  const { plaintext: decrypted } = await keyfold.decryptStream(encrypted, { context })
  for await (const _ of decrypted);
  await (await keyfold.encryptStream(streamOf(plaintext), { context })).cancel()

  const aborted = AbortSignal.abort()
  await fails("ABORTED", keyfold.encrypt(plaintext, { context, signal: aborted }))
  await fails("DECRYPTION_FAILED", keyfold.decrypt(envelope, { context: otherThan(context) }))
  await fails("MALFORMED_ENVELOPE", keyfold.decrypt(envelope.subarray(0, 40), { context }))
}

function otherThan(context: KeyContext): KeyContext {
  return { ...context, organization_id: "org_0_other" }
}

function streamOf(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  return new Blob([bytes]).stream()
}

async function fails(code: string, call: Promise<unknown>): Promise<void> {
  const found = await call.then(
    () => "success",
    (error) => error.code,
  )
  if (found !== code) throw new Error(`${found} instead of ${code}`)
}

function tell(name: string, { slope, error }: Slope): string {
  return `${name}: ${slope.toFixed(2)} ± ${error.toFixed(2)} MiB an hour`
}
