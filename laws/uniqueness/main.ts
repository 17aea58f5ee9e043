/**
 * `pnpm uniqueness [--count N] [--processes P] [--threads T]`: so many encryptions, each with a managed wrap, over
 * processes and threads; no data key, no IV of a wrap, and no salt once it was left may come again. Ends with 1 if one does.
 */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { countRepeats, VALUES } from "./repeats.ts"

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "10000000" },
    processes: { type: "string", default: "4" },
    threads: { type: "string", default: "2" },
  },
})
const processes = Number(values.processes)
const threads = Number(values.threads)
const each = Math.ceil(Number(values.count) / processes / threads)
if (!(Number.isInteger(each) && each > 0)) {
  console.error("--count, --processes and --threads are whole numbers above 0")
  process.exit(2)
}
const total = each * processes * threads
const folder = mkdtempSync(join(tmpdir(), "keyfold-uniqueness-"))
try {
  const worker = join(import.meta.dirname, "worker.ts")
  const running = Array.from({ length: processes }, () =>
    spawn(process.execPath, [worker, folder, String(each), String(threads)], { stdio: "inherit" }),
  )
  const codes = await Promise.all(running.map(async (child) => (await once(child, "exit"))[0] as number))
  if (codes.some((code) => code !== 0)) throw new Error(`a process ended with ${codes.join(", ")}`)
  const counts = VALUES.map((name) => {
    const files = readdirSync(folder).filter((file) => file.startsWith(`${name}.`))
    const all = Uint8Array.from(Buffer.concat(files.map((file) => readFileSync(join(folder, file)))))
    const drawn = new BigUint64Array(all.buffer)
    const isWhole = name === "wrap salt" ? drawn.length >= processes * threads : drawn.length === total
    if (!isWhole) throw new Error(`${name}: ${drawn.length} values`)
    return `${name}s repeated ${countRepeats(drawn)}`
  })
  console.log(`${total} encryptions in ${processes} processes of ${threads} threads: ${counts.join(", ")}`)
  process.exitCode = counts.every((line) => line.endsWith(" 0")) ? 0 : 1
} finally {
  rmSync(folder, { recursive: true })
}
