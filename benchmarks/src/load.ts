/**
 * `pnpm load [--seconds N] [--soak MINUTES] [--json]`: `keyfold serve` in a process of its own, creating and reading objects
 * of 1 KiB under 2 pairs, 16 requests at a time. A soak mixes both and watches the server's memory.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"
import autocannon from "autocannon"
import Table from "cli-table3"

const { values: options } = parseArgs({
  options: {
    seconds: { type: "string", default: "10" },
    soak: { type: "string" },
    json: { type: "boolean", default: false },
    help: { type: "boolean" },
  },
})
if (options.help) {
  console.log(`Usage: pnpm load [--seconds N] [--soak MINUTES] [--json]

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

const home = mkdtempSync(join(tmpdir(), "keyfold-load-"))
const main = join(import.meta.dirname, "../../packages/cli/src/main.ts")
const server = spawn(
  process.execPath,
  [main, "serve", "--port", "0", "--json", "--rate-limit", "0", "--home", home],
  { stdio: ["ignore", "pipe", "inherit"] },
)
try {
  const { value: line } = await createInterface(server.stdout)[Symbol.asyncIterator]().next()
  const { url, apiKey } = JSON.parse(line as string) as { url: string; apiKey: string }
  if (options.soak !== undefined) await soak(url, apiKey, Number(options.soak) * 60)
  else await measure(url, apiKey, Number(options.seconds))
} finally {
  server.kill("SIGTERM")
  await new Promise((resolve) => server.once("exit", resolve))
  rmSync(home, { recursive: true })
}

async function measure(url: string, apiKey: string, seconds: number): Promise<void> {
  const results = []
  for (const [op, requests] of [
    ["create", [create]],
    ["read", [read]],
  ] as const) {
    await run(url, apiKey, requests, 1) // to warm up
    results.push({ op, ...(await run(url, apiKey, requests, seconds)) })
  }
  if (options.json) return console.log(JSON.stringify({ node: process.versions.node, results }))
  const table = new Table({ head: ["1 KiB, 2 pairs, SQLite", "per second", "p50 ms", "p99 ms", "failed"] })
  for (const { op, perSecond, p50, p99, failed } of results) table.push([op, perSecond, p50, p99, failed])
  console.log(table.toString())
  console.log(
    `${CONNECTIONS} requests at a time; the client is on the same machine. Node ${process.versions.node}`,
  )
}

async function soak(url: string, apiKey: string, seconds: number): Promise<void> {
  await run(url, apiKey, [create], 5)
  const samples: { readonly at: number; readonly mebibytes: number }[] = []
  const startedAt = performance.now()
  const sampling = setInterval(async () => {
    const text = await (await fetch(`${url}/metrics`)).text()
    const bytes = Number(/^process_resident_memory_bytes (\S+)/m.exec(text)?.[1])
    samples.push({ at: (performance.now() - startedAt) / 60_000, mebibytes: bytes / 2 ** 20 })
  }, SAMPLE_MS)
  const result = await run(url, apiKey, [read, read, read, create], seconds)
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

async function run(url: string, apiKey: string, requests: readonly autocannon.Request[], seconds: number) {
  const {
    requests: rate,
    latency,
    non2xx,
    errors,
  } = await autocannon({
    url,
    connections: CONNECTIONS,
    duration: seconds,
    headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
    requests: [...requests],
  })
  return { perSecond: Math.round(rate.average), p50: latency.p50, p99: latency.p99, failed: non2xx + errors }
}
