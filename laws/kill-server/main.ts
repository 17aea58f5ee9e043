/**
 * `pnpm kill-server [--kills N]`: `keyfold serve` under load, killed at random moments. After each start every
 * acknowledged write must be there and decrypt, every acknowledged delete hold, and the audit chain be whole at the end.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"

const { values: options } = parseArgs({
  options: { kills: { type: "string", default: "50" }, help: { type: "boolean" } },
})
if (options.help) {
  console.log("Usage: pnpm kill-server [--kills N]\n\n--kills  how often the server is killed (50)")
  process.exit(0)
}

const CLIENTS = 8
/** Of those that stand, so many are read again after each start; all of them at the end. */
const SAMPLE = 100
const keyfold = join(import.meta.dirname, "../../packages/cli/src/main.ts")
const home = mkdtempSync(join(tmpdir(), "keyfold-kill-"))
/** What was acknowledged, by id: the values that it may have, none for a deleted object. */
const known = new Map<string, readonly (string | undefined)[]>()
const counts = { kills: 0, writes: 0, inDoubt: 0, lost: 0, refused: 0 }
try {
  for (let round = 0; round < Number(options.kills); round++) await killOnce(round)
  const { ask, child } = await start()
  for (const id of known.keys()) await check(ask, id)
  child.kill("SIGTERM")
  await ended(child)
  const audit = spawnSync(process.execPath, [keyfold, "vault", "audit", "--json", "--home", home])
  const { events } = JSON.parse(audit.stdout.toString() || "{}") as { events?: number }
  console.log(
    `killed ${counts.kills} times under ${CLIENTS} clients: ${counts.writes} writes acknowledged, ${counts.lost} lost, ` +
      `${counts.refused} answered wrongly; ${counts.inDoubt} were cut off; ${events ?? "no"} events in one chain`,
  )
  process.exitCode = counts.lost + counts.refused > 0 || events === undefined ? 1 : 0
} finally {
  rmSync(home, { recursive: true })
}

type Ask = (
  method: string,
  route: string,
  body?: unknown,
) => Promise<{ readonly status: number; readonly body: Record<string, string> }>

async function killOnce(round: number): Promise<void> {
  const { ask, child } = await start()
  const sample = [...known.keys()].sort(() => Math.random() - 0.5).slice(0, SAMPLE)
  await Promise.all(sample.map((id) => check(ask, id)))
  const killing = setTimeout(() => child.kill("SIGKILL"), 50 + Math.random() * 500)
  await Promise.all(Array.from({ length: CLIENTS }, (_, client) => work(ask, `${round}-${client}`)))
  clearTimeout(killing)
  await ended(child)
  counts.kills++
}

/** Creates, updates and deletes objects of its own until the server is gone. */
async function work(ask: Ask, prefix: string): Promise<void> {
  for (let i = 0; ; i++) {
    const name = `${prefix}-${i}`
    const body = {
      name,
      value: `first ${name}`,
      key_context: { organization_id: `org_${i % 50}`, kind: "k" },
    }
    const made = await attempt(ask, "POST", "/kv", body)
    if (made === undefined) return
    const { id } = made
    if (id === undefined) continue
    known.set(id, [body.value])
    if (i % 3 === 0) {
      const value = `second ${name}`
      known.set(id, [body.value, value])
      if ((await attempt(ask, "PUT", `/kv/${id}`, { value })) === undefined) return
      known.set(id, [value])
    }
    if (i % 5 === 0) {
      known.set(id, [...(known.get(id) ?? []), undefined])
      if ((await attempt(ask, "DELETE", `/kv/${id}`)) === undefined) return
      known.set(id, [undefined])
    }
  }
}

/** The answer to a write; undefined where the server was gone before it came. */
async function attempt(ask: Ask, method: string, route: string, body?: unknown) {
  try {
    const reply = await ask(method, route, body)
    if (reply.status >= 300) counts.refused++
    else counts.writes++
    return reply.body
  } catch {
    counts.inDoubt++
    return undefined
  }
}

async function check(ask: Ask, id: string): Promise<void> {
  const { status, body } = await ask("GET", `/kv/${id}`)
  const found = status === 404 ? undefined : body.value
  const expected = known.get(id) ?? []
  if ((status === 200 || status === 404) && expected.includes(found)) known.set(id, [found])
  else {
    counts.lost++
    console.log(`${id}: ${status} ${status === 200 ? "with another value" : JSON.stringify(body)}`)
  }
}

async function start(): Promise<{ readonly ask: Ask; readonly child: ChildProcess }> {
  const child = spawn(process.execPath, [keyfold, "serve", "--port", "0", "--json", "--home", home], {
    stdio: ["ignore", "pipe", "inherit"],
  })
  const { value: line } = await createInterface(child.stdout)[Symbol.asyncIterator]().next()
  const { url, apiKey } = JSON.parse(line as string) as { url: string; apiKey: string }
  const headers = { authorization: `Bearer ${apiKey}`, "content-type": "application/json" }
  const ask: Ask = async (method, route, body) => {
    const sent = body === undefined ? {} : { body: JSON.stringify(body) }
    const response = await fetch(`${url}/vault/v1${route}`, { method, headers, ...sent })
    return { status: response.status, body: (await response.json()) as Record<string, string> }
  }
  return { ask, child }
}

function ended(child: ChildProcess): Promise<unknown> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => child.once("exit", resolve))
}
