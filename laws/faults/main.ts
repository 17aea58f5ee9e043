/**
 * `pnpm faults [--kills N] [--points N]`: the durable KEK store under kill -9 at random moments; and, where strace is, killed
 * at the n-th write, flush, truncation, rename and removal, and with the disk full or failing there; also while a backup is
 * restored. After each, the store must open, hold every acknowledged KEK once, and open every acknowledged envelope.
 */
import { spawn, spawnSync } from "node:child_process"
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { KeyfoldError } from "@keyfold/core"
import Table from "cli-table3"
import { killRestore, prepare } from "./restore.ts"
import { Acknowledged, judge, type Verdict } from "./store.ts"

const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "1000" },
    points: { type: "string", default: "1000" },
    help: { type: "boolean" },
  },
})
if (values.help) {
  console.log(`Usage: pnpm faults [--kills N] [--points N]

--kills   random moments at which a working process is killed (1,000)
--points  at most so many calls of each kind to fail or be killed at (1,000: in effect all)`)
  process.exit(0)
}

type Totals = { lost: number; duplicates: number; unreadable: number; untyped: number }
type Row = Totals & {
  readonly fault: string
  readonly struck: number
  /** What the worker said of it, by code, where it could still say something. */
  readonly codes: ReadonlyMap<string, number>
}

/** One step each of making, rotating, and changing the root key, so that a run is short and ends by itself. */
const STEPS = 3
const MAX_CUTS = 200
/** Later cuts may be longer, from a part of the last page to all pages but one. */
const CUT_STEP_BYTES = 512
const NOTHING_LOST: Verdict = { lost: 0, duplicates: 0, unreadable: 0 }
const worker = join(import.meta.dirname, "worker.ts")
const folder = mkdtempSync(join(tmpdir(), "keyfold-faults-"))
const rows: Row[] = []
try {
  rows.push(await killAtRandom(Number(values.kills)))
  rows.push(await tear(Number(values.points)))
  if (spawnSync("strace", ["-V"]).error === undefined) {
    for (const call of ["pwrite64", "fsync", "fdatasync", "ftruncate", "unlink"]) {
      rows.push(await injectAtEvery(call, "signal=KILL", "killed"))
    }
    for (const call of ["pwrite64", "ftruncate"])
      rows.push(await injectAtEvery(call, "error=ENOSPC", "disk full"))
    for (const call of ["pwrite64", "pread64", "fsync", "fdatasync", "ftruncate"]) {
      rows.push(await injectAtEvery(call, "error=EIO", "disk failing"))
    }
    rows.push(...killRestores())
  } else {
    console.log("not run: faults at single system calls, for there is no strace")
  }
} finally {
  rmSync(folder, { recursive: true })
}
const table = new Table({
  head: ["fault", "struck", "told as", "KEKs lost", "duplicates", "not opened", "untyped"],
  style: { head: [], border: [] },
})
for (const { fault, struck, codes, lost, duplicates, unreadable, untyped } of rows) {
  const told = [...codes].map(([code, count]) => `${code} ${count}`).join("\n")
  table.push([fault, struck, told, lost, duplicates, unreadable, untyped])
}
console.log(table.toString())
const bad = rows.some((row) => row.lost + row.duplicates + row.unreadable + row.untyped > 0)
console.log(bad ? "FAILED" : "Nothing acknowledged was lost.")
process.exitCode = bad ? 1 : 0

async function killAtRandom(kills: number): Promise<Row> {
  const path = join(folder, "random.db")
  const acknowledged = new Acknowledged()
  const row = newRow("killed at random")
  for (let round = 0; round < kills; round++) {
    const from = acknowledged.envelopes.length
    const args = [worker, path, "Infinity", String(round)]
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    const kill = (withinMs: number) => setTimeout(() => child.kill("SIGKILL"), Math.random() * withinMs)
    // Mostly while it works, and now and then while it starts.
    const isEarly = round % 10 === 0
    if (isEarly) kill(400)
    let output = ""
    child.stdout.on("data", (chunk) => {
      if (output === "" && !isEarly) kill(120)
      output += chunk
    })
    await new Promise((resolve) => child.on("close", resolve))
    acknowledged.add(output)
    row.struck++
    count(row, output, await judge(path, acknowledged, round % 100 === 99 ? 0 : from))
    const { keks, envelopes } = acknowledged
    progress(`killed ${round + 1} of ${kills}: ${keks.size} KEKs, ${envelopes.length} envelopes`)
  }
  return row
}

/** Cuts the file of a closed store anywhere in its last pages: what is missing must be named, and never served as absent. */
async function tear(points: number): Promise<Row> {
  const row = newRow("file cut short")
  const path = join(folder, "torn.db")
  const acknowledged = new Acknowledged()
  acknowledged.add(run([process.execPath, worker, path, "40", "7"]))
  const whole = readFileSync(path)
  for (let n = 1; n <= Math.min(points, MAX_CUTS); n++) {
    const missing = 1 + Math.floor(Math.random() * Math.min(n * CUT_STEP_BYTES, whole.length - 1))
    const copy = join(folder, "torn")
    mkdirSync(copy)
    writeFileSync(join(copy, "keks.db"), whole.subarray(0, whole.length - missing))
    row.struck++
    try {
      count(row, "", await judge(join(copy, "keks.db"), acknowledged))
    } catch (error) {
      count(row, `failed ${error instanceof KeyfoldError ? error.code : "UNTYPED"}`, NOTHING_LOST)
    }
    rmSync(copy, { recursive: true })
  }
  return row
}

async function injectAtEvery(call: string, effect: string, name: string): Promise<Row> {
  const row = newRow(`${name} at each ${call}`)
  // A store that holds something already, opened anew for each run.
  const base = join(folder, "base")
  mkdirSync(base)
  const before = run([process.execPath, worker, join(base, "keks.db"), String(STEPS), "7"])
  for (let n = 1; n <= Number(values.points); n++) {
    const copy = join(folder, "copy")
    cpSync(base, copy, { recursive: true })
    const path = join(copy, "keks.db")
    const only = ["", "-wal", "-shm", "-journal"].flatMap((suffix) => ["-P", path + suffix])
    const inject = ["-e", `trace=${call}`, "-e", `inject=${call}:${effect}:when=${n}`]
    const log = join(folder, "strace.log")
    const output = run([
      ...["strace", "-f", "-qq", "-o", log, ...only, ...inject],
      ...[process.execPath, worker, path, String(STEPS), String(n)],
    ])
    const acknowledged = new Acknowledged()
    acknowledged.add(before)
    acknowledged.add(output)
    count(row, output, await judge(path, acknowledged))
    rmSync(copy, { recursive: true })
    // strace marks the call; a run that it was not needed in had fewer.
    if (!/\(INJECTED\)|killed by SIGKILL/.test(readFileSync(log, "utf8"))) break
    row.struck++
    progress(`${name} at ${call} ${n}`)
  }
  rmSync(base, { recursive: true })
  return row
}

/** A second try must put every KEK back that the first, which was killed, did not. */
function killRestores(): Row[] {
  const base = join(folder, "restore")
  prepare(base)
  return ["pwrite64", "fsync", "rename", "unlink"].map((call) => {
    const row = newRow(`restore killed at each ${call}`)
    for (let n = 1; n <= Number(values.points); n++) {
      const { struck, ended, opens } = killRestore(base, call, n)
      if (!opens) row.unreadable++
      if (ended === "FAILED") row.untyped++
      if (!struck) break
      row.struck++
      row.codes.set(ended, (row.codes.get(ended) ?? 0) + 1)
      progress(`restore killed at ${call} ${n}`)
    }
    return row
  })
}

function newRow(fault: string) {
  return {
    fault,
    struck: 0,
    codes: new Map<string, number>(),
    lost: 0,
    duplicates: 0,
    unreadable: 0,
    untyped: 0,
  }
}

function run([command = "", ...args]: string[]): string {
  return spawnSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).stdout
}

function count(row: ReturnType<typeof newRow>, output: string, found: Verdict): void {
  row.lost += found.lost
  row.duplicates += found.duplicates
  row.unreadable += found.unreadable
  const code = /^failed (\w+)$/m.exec(output)?.[1]
  if (code === "UNTYPED") row.untyped++
  if (code !== undefined) row.codes.set(code, (row.codes.get(code) ?? 0) + 1)
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\u001b[2K${text}`)
}
