/**
 * `pnpm load [--postgres] [--seconds N] [--soak MINUTES] [--json]`: `keyfold serve` in a process of its own over SQLite, or two
 * of them over one PostgreSQL, creating and reading objects of 1 KiB under 2 pairs, 16 requests at a time. A soak mixes
 * both and watches the servers' memory.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"
import autocannon from "autocannon"
import Table from "cli-table3"
import { startServer } from "../../packages/postgres/test/server.ts"

const { values: options } = parseArgs({
  options: {
    postgres: { type: "boolean", default: false },
    seconds: { type: "string", default: "10" },
    soak: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean" },
  },
})
if (options.help) {
  console.log(`Usage: pnpm load [--postgres] [--seconds N] [--soak MINUTES] [--json]

--postgres two servers over one PostgreSQL (from npm) instead of one over SQLite
--seconds  how long each kind of request is sent (10)
--soak     instead, mix them for so long and watch the server's memory
--json     print JSON alone`)
  process.exit(0)
}

const CONNECTIONS = 16
const TENANTS = 1000
const SAMPLE_MS = 5000
const value = "v".repeat(1024)
const ids: string[] = []
let count = 0

const create: autocannon.Request = {
  method: "POST",
  path: "/vault/v1/kv",
  setupRequest: (request) => {
    const key_context = { organization_id: `org_${count % TENANTS}`, data_type: "ssn" }
    return { ...request, body: JSON.stringify({ name: `object ${count++}`, value, key_context }) }
  },
  onResponse: (status, body) => {
    if (status === 201) ids.push((JSON.parse(body) as { id: string }).id)
  },
}

const read: autocannon.Request = {
  method: "GET",
  setupRequest: (request) => {
    const id = ids[Math.floor(Math.random() * ids.length)]
    return { ...request, path: `/vault/v1/kv/${id}` }
  },
}

type Target = { readonly url: string; readonly apiKey: string }
const folder = mkdtempSync(join(tmpdir(), "keyfold-load-"))
const main = join(import.meta.dirname, "../../packages/cli/src/main.ts")
const database = options.postgres ? await startServer() : undefined
const children: ChildProcess[] = []
try {
  const targets = [await serve("one")]
  if (database !== undefined) {
    const rootKey = ["--root-key-file", join(folder, "one/root.key")]
    const init = [main, "init", "--home", join(folder, "two"), "--postgres", database.connectionString]
    spawnSync(process.execPath, [...init, ...rootKey], { stdio: ["ignore", "ignore", "inherit"] })
    targets.push(await serve("two"))
  }
  if (options.soak !== undefined) await soak(targets, Number(options.soak) * 60)
  else await measure(targets, Number(options.seconds))
} finally {
  for (const child of children) {
    child.kill("SIGTERM")
    await new Promise((resolve) => child.once("exit", resolve))
  }
  await database?.stop()
  rmSync(folder, { recursive: true })
}

async function serve(home: string): Promise<Target> {
  const where = database === undefined ? [] : ["--postgres", database.connectionString]
  const args = ["serve", "--port", "0", "--json", "--rate-limit", "0", "--home", join(folder, home), ...where]
  const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "pipe", "inherit"] })
  children.push(child)
  const { value: line } = await createInterface(child.stdout)[Symbol.asyncIterator]().next()
  return JSON.parse(line as string)
}

async function measure(targets: readonly Target[], seconds: number): Promise<void> {
  const results = []
  for (const [op, requests] of [
    ["create", [create]],
    ["read", [read]],
  ] as const) {
    await run(targets, requests, 1) // to warm up
    results.push({ op, ...(await run(targets, requests, seconds)) })
  }
  if (options.json) return console.log(JSON.stringify({ node: process.versions.node, results }))
  const table = new Table({
    head: [
      `1 KiB, 2 pairs, ${options.postgres ? "PostgreSQL, 2 servers" : "SQLite"}`,
      "per second",
      "p50 ms",
      "p99 ms",
      "failed",
    ],
  })
  for (const { op, perSecond, p50, p99, failed } of results) table.push([op, perSecond, p50, p99, failed])
  console.log(table.toString())
  console.log(
    `${CONNECTIONS} requests at a time; the client is on the same machine. Node ${process.versions.node}`,
  )
}

async function soak(targets: readonly Target[], seconds: number): Promise<void> {
  await run(targets, [create], 5)
  const samples: { readonly at: number; readonly mebibytes: number }[] = []
  const startedAt = performance.now()
  const sampling = setInterval(async () => {
    const bytes = await Promise.all(targets.map(residentBytes))
    const mebibytes = bytes.reduce((sum, each) => sum + each, 0) / 2 ** 20
    samples.push({ at: (performance.now() - startedAt) / 60_000, mebibytes })
  }, SAMPLE_MS)
  const result = await run(targets, [read, read, read, create], seconds)
  clearInterval(sampling)
  // The first third fills caches and compiles.
  const slope = slopeOf(samples.slice(Math.ceil(samples.length / 3)))
  const memory = samples.filter((_, i) => i % Math.ceil(samples.length / 10) === 0)
  if (options.json) return console.log(JSON.stringify({ ...result, samples, mebibytesPerMinute: slope }))
  console.log(`${result.perSecond} requests a second, ${result.failed} failed`)
  console.log(`resident memory: ${memory.map(({ mebibytes }) => mebibytes.toFixed(0)).join(", ")} MiB`)
  console.log(`slope of the last two thirds: ${slope.toFixed(2)} MiB a minute`)
}

/** By least squares. */
function slopeOf(samples: readonly { readonly at: number; readonly mebibytes: number }[]): number {
  const mean = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0) / values.length
  const x = mean(samples.map(({ at }) => at))
  const y = mean(samples.map(({ mebibytes }) => mebibytes))
  const over = samples.reduce((sum, { at, mebibytes }) => sum + (at - x) * (mebibytes - y), 0)
  return over / samples.reduce((sum, { at }) => sum + (at - x) ** 2, 0)
}

async function residentBytes({ url }: Target): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text()
  return Number(/^process_resident_memory_bytes (\S+)/m.exec(text)?.[1])
}

/** The sum of the rates, and the worse of the latencies. */
async function run(targets: readonly Target[], requests: readonly autocannon.Request[], seconds: number) {
  const results = await Promise.all(
    targets.map(({ url, apiKey }) =>
      autocannon({
        url,
        connections: CONNECTIONS / targets.length,
        duration: seconds,
        headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
        requests: [...requests],
      }),
    ),
  )
  const sum = (of: (result: autocannon.Result) => number) =>
    results.reduce((total, each) => total + of(each), 0)
  return {
    perSecond: Math.round(sum(({ requests }) => requests.average)),
    p50: Math.max(...results.map(({ latency }) => latency.p50)),
    p99: Math.max(...results.map(({ latency }) => latency.p99)),
    failed: sum(({ non2xx, errors }) => non2xx + errors),
  }
}
