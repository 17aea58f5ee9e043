/**
 * `pnpm bench --scale [--json]`: what the number of KEKs in the durable store costs, in time and memory. Each number has
 * a process of its own for filling and another one for measuring.
 */
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setImmediate as turn } from "node:timers/promises"
import { promisify } from "node:util"
import { createKeyfold, type Keyfold } from "@keyfold/core"
import { createManagedProvider, type ManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"
import Table from "cli-table3"

/** Of one number of KEKs. Times are means over a sample of contexts that were not used before (cold), or just before. */
type Scale = {
  readonly keks: number
  readonly file_mib: number
  readonly open_ms: number
  readonly encrypt_cold_us: number
  readonly encrypt_warm_us: number
  readonly decrypt_warm_us: number
  /** Resident memory after opening, and after an encryption under every KEK. */
  readonly rss_open_mib: number
  readonly rss_used_mib: number
}

const COUNTS = [1, 1_000, 1_000_000]
/** Within the provider's cache of 10,000 KEKs. */
const SAMPLE = 5_000
/** Operations between two turns of the event loop, as a server would have them. */
const TURN = 100
const PAYLOAD = new Uint8Array(1024).fill(7)

const [task, path = "", count = ""] = process.argv.slice(2)
if (task === "fill") await fill(path, Number(count))
else if (task === "measure") console.log(JSON.stringify(await measure(path, Number(count))))
else await compare(process.argv.includes("--json"))

async function compare(json: boolean): Promise<void> {
  const results: Scale[] = []
  for (const count of COUNTS) {
    const folder = mkdtempSync(join(tmpdir(), "keyfold-scale-"))
    try {
      const path = join(folder, "keks.db")
      const run = (task: string) =>
        promisify(execFile)(process.execPath, [
          "--expose-gc",
          import.meta.filename,
          task,
          path,
          String(count),
        ])
      if (process.stderr.isTTY) process.stderr.write(`${count} KEKs\n`)
      await run("fill")
      results.push(JSON.parse((await run("measure")).stdout))
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
  if (json) {
    console.log(JSON.stringify({ node: process.versions.node, scale: results }))
    return
  }
  const names = Object.keys(results[0] as Scale) as (keyof Scale)[]
  const table = new Table({ head: names.map((name) => name.replaceAll("_", " ")), style: { head: [] } })
  for (const each of results) table.push(names.map((name) => Math.round(each[name] * 10) / 10))
  console.log(table.toString())
}

async function measure(path: string, count: number): Promise<Scale> {
  const started = performance.now()
  const managed = await open(path)
  const open_ms = performance.now() - started
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  const rss_open_mib = rss()
  const stride = Math.max(1, Math.floor(count / SAMPLE))
  const sample = Array.from({ length: SAMPLE }, (_, i) => (i * stride) % count)
  const warmUp = Array.from({ length: SAMPLE }, () => 0)
  await timed(warmUp, (i) => keyfold.encrypt(PAYLOAD, { context: contextOf(i) }))
  const envelopes = new Map<number, Uint8Array>()
  const encrypt = async (i: number) =>
    envelopes.set(i, await keyfold.encrypt(PAYLOAD, { context: contextOf(i) }))
  const encrypt_cold_us = await timed(sample, encrypt)
  const encrypt_warm_us = await timed(sample, encrypt)
  const decrypt = (i: number) => keyfold.decrypt(envelopes.get(i) as Uint8Array, { context: contextOf(i) })
  await timed(sample, decrypt)
  const decrypt_warm_us = await timed(sample, decrypt)
  envelopes.clear()
  await useAll(keyfold, count)
  const rss_used_mib = rss()
  await managed.close()
  const file_mib = statSync(path).size / 2 ** 20
  return {
    ...{ keks: count, file_mib, open_ms, encrypt_cold_us, encrypt_warm_us, decrypt_warm_us },
    ...{ rss_open_mib, rss_used_mib },
  }
}

async function useAll(keyfold: Keyfold, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await keyfold.encrypt(PAYLOAD, { context: contextOf(i) })
    if (i % TURN === 0) await turn()
  }
}

async function timed(contexts: readonly number[], call: (i: number) => Promise<unknown>): Promise<number> {
  let total = 0
  for (let from = 0; from < contexts.length; from += TURN) {
    const started = performance.now()
    for (const i of contexts.slice(from, from + TURN)) await call(i)
    total += performance.now() - started
    await turn()
  }
  return (total * 1000) / contexts.length
}

/** Through the provider, but without waiting for the disk after each KEK: rows go in by thousands. */
async function fill(path: string, count: number): Promise<void> {
  const store = sqliteStore(path)
  const db = new DatabaseSync(path)
  const insert = db.prepare("INSERT INTO keks VALUES (?, ?, 1, 1, 'enabled', 0, ?, ?, 0, 1, ?)")
  let waiting = 0
  const managed = await open(path, {
    ...store,
    insert({ keyId, index, createdAt, rotatedAt, sealed }) {
      if (waiting++ === 0) db.exec("BEGIN")
      insert.run(keyId, index, createdAt, rotatedAt, sealed)
      if (waiting === 10_000) {
        db.exec("COMMIT")
        waiting = 0
      }
      return true
    },
  })
  for (let i = 0; i < count; i++) {
    await managed.kekFor({ name: "organization_id", value: contextOf(i).organization_id })
    if (i % TURN === 0) await turn()
  }
  if (waiting > 0) db.exec("COMMIT")
  db.close()
  await managed.close()
}

function open(path: string, store = sqliteStore(path)): Promise<ManagedProvider> {
  return createManagedProvider({ store, root: { key: new Uint8Array(32).fill(7) }, environment: "bench" })
}

function contextOf(i: number) {
  return { organization_id: `org_${i}` }
}

function rss(): number {
  globalThis.gc?.()
  return process.memoryUsage.rss() / 2 ** 20
}
