/**
 * `pnpm residue [--operations N]`: what a heap snapshot and a core dump of a working process still show of keys and
 * plaintexts, while it works and after it has closed its provider. The dump is read from /proc: every writable page that is in
 * memory, which is what a core file would hold. A measurement: it fails only where the search finds nothing at all, for
 * keys that are in use must be there.
 */
import { spawn } from "node:child_process"
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { parseArgs } from "node:util"
import Table from "cli-table3"
import { MASK } from "./recorded-crypto.ts"

const { values } = parseArgs({
  options: { operations: { type: "string", default: "1000" }, help: { type: "boolean" } },
})
if (values.help) {
  console.log(
    "Usage: pnpm residue [--operations N]\n\n--operations  encrypted and decrypted before memory is dumped (1,000)",
  )
  process.exit(0)
}
if (!existsSync("/proc/self/pagemap")) {
  console.log("not run: no /proc")
  process.exit(0)
}

const SECRET_BYTES = 32
const PAGE_BYTES = 4096
/** 64 MiB. */
const PAGES_AT_ONCE = 16_384
/** The highest bit of an entry. */
const PRESENT = 0x80
const folder = mkdtempSync(join(tmpdir(), "keyfold-residue-"))
try {
  const hooks = ["--expose-gc", "--import", join(import.meta.dirname, "hooks.ts")]
  const args = [...hooks, join(import.meta.dirname, "subject.ts"), folder, values.operations]
  const child = spawn(process.execPath, args, { stdio: ["pipe", "pipe", "inherit"] })
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]()
  const table = new Table({
    head: ["state", "what", "made", "in the core dump", "in a heap snapshot"],
    style: { head: [], border: [] },
  })
  let found = 0
  let dumped = 0
  for (;;) {
    const { value: state } = await lines.next()
    if (state === undefined) break
    const dump = dumpOf(child.pid as number)
    dumped = dump.reduce((sum, { length }) => sum + length, 0)
    const snapshot = readFileSync(join(folder, `${state}.heapsnapshot`))
    for (const file of readdirSync(folder).filter((name) => name.startsWith(`${state}-`))) {
      const secrets = secretsIn(join(folder, file))
      const inCore = countIn(dump, secrets)
      const inSnapshot = countIn([snapshot], secrets)
      table.push([state, file.slice(state.length + 1), secrets.length, inCore, inSnapshot])
      found += inCore
    }
    child.stdin.write("\n")
  }
  console.log(table.toString())
  console.log(
    `searched ${Math.round(dumped / 2 ** 20)} MiB, raw, in hex and in base64. Node ${process.versions.node}`,
  )
  // Subkeys of KEKs live in KeyObjects on purpose: a search that misses them sees nothing.
  if (found === 0) throw new Error("nothing was found, not even the keys that are in use")
} finally {
  rmSync(folder, { recursive: true })
}

/** The writable memory of a process, one array for each run of pages that are there (proc_pid_pagemap(5)). */
function dumpOf(pid: number): Buffer[] {
  const memory = openSync(`/proc/${pid}/mem`, "r")
  const pagemap = openSync(`/proc/${pid}/pagemap`, "r")
  const parts: Buffer[] = []
  for (const line of readFileSync(`/proc/${pid}/maps`, "utf8").split("\n")) {
    const [, from = "", to = ""] = /^(\w+)-(\w+) rw/.exec(line) ?? []
    if (from === "") continue
    const first = Number.parseInt(from, 16) / PAGE_BYTES
    const count = Number.parseInt(to, 16) / PAGE_BYTES - first
    for (let at = 0; at < count; at += PAGES_AT_ONCE) {
      const pages = Math.min(PAGES_AT_ONCE, count - at)
      const facts = Buffer.alloc(pages * 8)
      readSync(pagemap, facts, 0, facts.length, (first + at) * 8)
      for (let page = 0; page < pages; ) {
        let run = 0
        while (page + run < pages && (facts[(page + run) * 8 + 7] as number) >= PRESENT) run++
        if (run > 0) {
          const part = Buffer.alloc(run * PAGE_BYTES)
          readSync(memory, part, 0, part.length, (first + at + page) * PAGE_BYTES)
          parts.push(part)
        }
        page += run + 1
      }
    }
  }
  closeSync(memory)
  closeSync(pagemap)
  return parts
}

function secretsIn(file: string): Buffer[] {
  const masked = readFileSync(file)
  const secrets = new Map<string, Buffer>()
  for (let at = 0; at < masked.length; at += SECRET_BYTES) {
    const secret = Buffer.from(masked.subarray(at, at + SECRET_BYTES).map((byte) => byte ^ MASK))
    secrets.set(secret.toString("hex"), secret)
  }
  return [...secrets.values()]
}

/** How many of the secrets are in the memory, raw, in hex or in base64; in one pass over it. */
function countIn(memory: readonly Buffer[], secrets: readonly Buffer[]): number {
  const patterns = new Map<number, { readonly bytes: Buffer; readonly secret: number }[]>()
  const starts = new Uint8Array(2 ** 24)
  secrets.forEach((bytes, secret) => {
    // Without its last bytes, whose base64 depends on what follows.
    const cut = bytes.subarray(0, 30)
    const forms = [
      bytes,
      ...[bytes.toString("hex"), cut.toString("base64"), cut.toString("base64url")].map((text) =>
        Buffer.from(text),
      ),
    ]
    for (const form of forms) {
      const start = form.readUIntLE(0, 3)
      starts[start] = 1
      patterns.set(start, [...(patterns.get(start) ?? []), { bytes: form, secret }])
    }
  })
  const found = new Set<number>()
  for (const part of memory) {
    for (let at = 0; at < part.length - 3; at++) {
      const start = (part[at] as number) | ((part[at + 1] as number) << 8) | ((part[at + 2] as number) << 16)
      if (starts[start] === 0) continue
      for (const { bytes, secret } of patterns.get(start) ?? [])
        if (!found.has(secret) && bytes.compare(part, at, Math.min(at + bytes.length, part.length)) === 0)
          found.add(secret)
    }
  }
  return found.size
}
