/**
 * `pnpm sweep [--objects N] [--kills N]`: after a rotation, and after one tenant in ten was bound to a key in a KMS that
 * takes 20 ms a call and throttles one in twenty, two processes move all objects to today's keys. They are killed on the
 * way, and every object must be readable throughout.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setImmediate } from "node:timers/promises"
import { parseArgs } from "node:util"
import { startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { addBinding, type Binding } from "@keyfold/router"
import { createVault } from "@keyfold/vault"
import { SingleBar } from "cli-progress"
import { bindingsFile, CONTEXTS, contextOf, openSetting } from "./setting.ts"

const { values: options } = parseArgs({
  options: {
    objects: { type: "string", default: "100000" },
    kills: { type: "string", default: "20" },
    help: { type: "boolean" },
  },
})
if (options.help) {
  console.log(`Usage: pnpm sweep [--objects N] [--kills N]

--objects  objects of 1 KiB, over 100 contexts (100,000)
--kills    how often one of the two processes is killed (20)`)
  process.exit(0)
}

const OBJECTS = Number(options.objects)
const KILLS = Number(options.kills)
const WORKERS = 2
const LATENCY_MS = 20
const THROTTLED_ONE_IN = 20
/** Of the failures. */
const SHOWN = 5
const value = (i: number) => `${i} `.padEnd(1024, "v")

const folder = mkdtempSync(join(tmpdir(), "keyfold-sweep-"))
const emulator = await startAwsEmulator()
const setting = await openSetting(folder, emulator.credentials)
const { keyfold, store, managed, provider } = setting
try {
  const vault = createVault({
    keyfold,
    store,
    actor: { id: "law", name: "law" },
    events: { record: async () => undefined },
  })
  const ids = await step(
    "objects written",
    OBJECTS,
    async (i) => (await vault.create(`${i}`, contextOf(i), value(i))).id,
  )
  const bindings = await changeKeys()
  const calls = emulator.calls.length
  emulator.inject({ kind: "latency", ms: LATENCY_MS })
  for (let at = THROTTLED_ONE_IN; at < OBJECTS / 2; at += THROTTLED_ONE_IN)
    emulator.inject({ kind: "throttle" }, { times: 1, afterCalls: at })

  const startedAt = performance.now()
  let sweeping = true
  const reading = readThroughout(() => sweeping)
  const kills = await sweepAndKill().finally(() => {
    sweeping = false
  })
  const seconds = (performance.now() - startedAt) / 1000
  const { reads, unreadable } = await reading

  const throttled = emulator.calls.slice(calls).filter(({ error }) => error?.includes("Throttling")).length
  const asked = emulator.calls.length - calls
  let old = 0
  let wrong = 0
  await step("objects checked", OBJECTS, async (i) => {
    const object = await vault.read(ids[i] as string)
    if (object.value !== value(i)) wrong++
    const head = await store.head(object.id, object.versionId)
    const { wraps } = keyfold.inspect(head?.header as Uint8Array)
    const bound = bindings.some(({ match }) => match.organization_id === object.context.organization_id)
    const moved = wraps.some(({ keyVersion }) => keyVersion === 2)
    if (!moved || bound !== wraps.some(({ providerId }) => providerId === provider.id)) old++
  })
  console.log(
    `${OBJECTS} objects moved in ${seconds.toFixed(1)} s, ${Math.round(OBJECTS / seconds)} a second, by ${WORKERS} processes, ` +
      `killed ${kills} times; ${asked} calls of the KMS, ${throttled} throttled; ` +
      `${reads} reads meanwhile, ${unreadable} failed; ${old} left behind, ${wrong} with another value`,
  )
  process.exitCode = unreadable + old + wrong > 0 || kills < KILLS ? 1 : 0

  /** A new version of one KEK that all share, and a customer's key for one tenant in ten. */
  async function changeKeys(): Promise<Binding[]> {
    const kek = await managed.findKek({ name: "data_type", value: "note" })
    await managed.rotate(kek?.keyId as string)
    const made: Binding[] = []
    const save = (binding: Binding) => {
      const at = made.findIndex(({ id }) => id === binding.id)
      made.splice(at === -1 ? made.length : at, at === -1 ? 0 : 1, binding)
    }
    for (let i = 0; i < CONTEXTS; i += 10) {
      const { organization_id } = contextOf(i)
      const endpoint = { endpoint: emulator.url }
      const kek = provider.kek(emulator.createKey(), endpoint)
      const draft = {
        id: organization_id,
        owner: organization_id,
        match: { organization_id },
        options: endpoint,
      }
      await addBinding(draft, kek, made, { managed, save })
    }
    writeFileSync(bindingsFile(folder), JSON.stringify(made))
    return made
  }

  /** One object after the other, of all, at random. A throttled call is tried again by the engine's provider. */
  async function readThroughout(goesOn: () => boolean) {
    let reads = 0
    let unreadable = 0
    while (goesOn()) {
      const i = Math.floor(Math.random() * OBJECTS)
      const found = await vault.read(ids[i] as string).catch((error: { code?: string }) => error)
      if ("value" in found && found.value === value(i)) reads++
      else {
        if (unreadable++ < SHOWN)
          console.log(`object ${i} could not be read: ${"code" in found ? found.code : "another value"}`)
      }
      // The workers' KMS is in this process.
      await setImmediate()
    }
    return { reads, unreadable }
  }

  /** Keeps the workers going and kills one of them now and then, as often as is due while there is work. */
  async function sweepAndKill(): Promise<number> {
    let killed = 0
    const due = { sealedBefore: Date.now() }
    const bar = new SingleBar({
      format: "moving {bar} {value}/{total} | {duration_formatted}",
      noTTYOutput: false,
    })
    if (process.stderr.isTTY) bar.start(OBJECTS, 0)
    const run = async (): Promise<void> => {
      for (;;) {
        const child = spawn(
          process.execPath,
          [join(import.meta.dirname, "worker.ts"), folder, JSON.stringify(emulator.credentials)],
          { stdio: ["ignore", "pipe", "inherit"] },
        )
        child.stdout.once("data", () => void killLater(child))
        let printed = ""
        child.stdout.on("data", (chunk) => {
          printed += chunk
        })
        const code = await new Promise((resolve) => child.once("exit", resolve))
        if (code === 0 && printed.includes('"done"')) return
        if (code !== null) throw new Error(`a worker ended with ${code}`)
      }
    }
    const killLater = async (child: ChildProcess) => {
      // Spread over the whole work: the k-th kill comes when k of kills+1 parts are done.
      for (;;) {
        await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 60))
        if (killed >= KILLS || child.exitCode !== null || child.signalCode !== null) return
        const left = await store.countDue(due)
        if (process.stderr.isTTY) bar.update(OBJECTS - left)
        if (OBJECTS - left < (OBJECTS * (killed + 1)) / (KILLS + 2)) continue
        if (child.kill("SIGKILL")) killed++
        return
      }
    }
    await Promise.all(Array.from({ length: WORKERS }, run))
    if (process.stderr.isTTY) bar.stop()
    return killed
  }
} finally {
  await setting.close()
  await emulator.close()
  rmSync(folder, { recursive: true })
}

async function step<T>(what: string, count: number, work: (i: number) => Promise<T>): Promise<T[]> {
  const startedAt = performance.now()
  const results: T[] = []
  for (let i = 0; i < count; i += 50) {
    const some = Array.from({ length: Math.min(50, count - i) }, (_, j) => work(i + j))
    results.push(...(await Promise.all(some)))
  }
  console.log(`${count} ${what} in ${((performance.now() - startedAt) / 1000).toFixed(1)} s`)
  return results
}
