/**
 * `pnpm demo`: keyfold on real files, step by step; each line prints the figure it compared. A step named in
 * KEYFOLD_DEMO_BREAK is sabotaged, so that its check fails: that shows that the checks can.
 * --mib N sets the size of the large file (256).
 */
import { createHash, randomFillSync } from "node:crypto"
import { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { parseArgs } from "node:util"
import { createKeyfold, type Keyfold, KeyfoldError } from "@keyfold/core"
import { createManagedProvider, type ManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"
import { table } from "../src/commands/inspect.ts"
import { startBar } from "../src/progress.ts"
import { customerKeys } from "./clouds.ts"

const STEPS = [
  "encrypt",
  "inspect",
  "decrypt",
  "tamper",
  "context",
  "rotate",
  "disable",
  "tenants",
  "revoke",
  "move",
  "large",
] as const
type Step = (typeof STEPS)[number]

/** What a part of the demo works with. */
export type Demo = {
  readonly broken: string | undefined
  readonly check: (step: Step, what: string, found: unknown, expected: unknown) => void
  /** `opens`, or the code of the failure. */
  readonly outcome: (opening: Promise<unknown>) => Promise<string>
  readonly sha256: (bytes: Uint8Array) => string
}

const { values } = parseArgs({ options: { mib: { type: "string", default: "256" } } })
const broken = process.env.KEYFOLD_DEMO_BREAK
if (broken !== undefined && !STEPS.includes(broken as Step)) {
  console.error(`KEYFOLD_DEMO_BREAK names one of ${STEPS.join(", ")}`)
  process.exit(2)
}
const failed = new Set<Step>()
const folder = mkdtempSync(join(tmpdir(), "keyfold-demo-"))
process.once("SIGINT", () => {
  rmSync(folder, { recursive: true, force: true })
  process.exit(130)
})
try {
  const store = sqliteStore(join(folder, "keks.db"))
  const root = { key: randomFillSync(new Uint8Array(32)) }
  const managed = await createManagedProvider({ store, root, environment: "demo" })
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  console.log(
    "keyfold demo: KEKs in an empty store on this disk, sealed by a root key that lives until the demo ends\n",
  )
  await smallFile(keyfold, managed)
  await customerKeys({ broken, check, outcome, sha256 })
  await largeFile(keyfold, Number(values.mib) * 2 ** 20)
  await managed.close()
} finally {
  rmSync(folder, { recursive: true })
}
console.log(failed.size === 0 ? "\nEvery check held." : `\nFAILED: ${[...failed].join(", ")}`)
process.exitCode = failed.size === 0 ? 0 : 1

async function smallFile(keyfold: Keyfold, managed: ManagedProvider): Promise<void> {
  const readme = new Uint8Array(readFileSync(join(import.meta.dirname, "../../../README.md")))
  const full = { organization_id: "org_1", data_type: "readme", data_residency: "eu" }
  const context = broken === "encrypt" ? { organization_id: "org_1", data_type: "readme" } : full

  const before = await countKeks(managed)
  const envelope = await keyfold.encrypt(readme, { context, policy: broken === "inspect" ? "any" : "all" })
  const made = (await countKeks(managed)) - before
  console.log(
    `README.md, ${readme.length} bytes, under ${Object.keys(full).join(", ")}: ${envelope.length} bytes`,
  )
  check("encrypt", "KEKs made just in time, one for each pair", made, 3)

  const facts = keyfold.inspect(envelope)
  console.log(await table(facts))
  check(
    "inspect",
    "wraps, policy",
    `${facts.wraps.length}, ${facts.policy}`,
    `${Object.keys(context).length}, all`,
  )

  const { plaintext } = await keyfold.decrypt(envelope, { context })
  if (broken === "decrypt") flip(plaintext, 0)
  check("decrypt", "SHA-256 of what came back", sha256(plaintext), sha256(readme))

  const altered = envelope.slice()
  const at = Math.floor(envelope.length / 2)
  if (broken !== "tamper") flip(altered, at)
  check(
    "tamper",
    `bit 0 of byte ${at} flipped`,
    await outcome(keyfold.decrypt(altered, { context })),
    "DECRYPTION_FAILED",
  )

  const other = broken === "context" ? context : { ...context, organization_id: "org_2" }
  check(
    "context",
    "another organization_id",
    await outcome(keyfold.decrypt(envelope, { context: other })),
    "DECRYPTION_FAILED",
  )

  const orgKek = facts.wraps.at(facts.pairCount === 3 ? 2 : 1)?.keyId as string
  await managed.rotate(orgKek)
  const rewrapped = broken === "rotate" ? envelope : await keyfold.rewrap(envelope, { context })
  const wrap = keyfold.inspect(rewrapped).wraps.find(({ keyId }) => keyId === orgKek)
  check("rotate", "KEK rotated and rewrapped: key version", wrap?.keyVersion, 2)
  const payload = (of: Uint8Array) => sha256(of.subarray(keyfold.inspect(of).headerBytes))
  check("rotate", "  SHA-256 of the payload, before and after", payload(rewrapped), payload(envelope))
  check("rotate", "  both still open", await outcome(keyfold.decrypt(rewrapped, { context })), "opens")

  if (broken !== "disable") await managed.disable(orgKek)
  const error = await keyfold.decrypt(rewrapped, { context }).catch((error: unknown) => error)
  const refusal =
    error instanceof KeyfoldError ? `${error.code} ${error.keyId} for ${error.pairNames}` : "opens"
  check("disable", "one KEK of three disabled", refusal, `KEY_DISABLED ${orgKek} for organization_id`)
}

async function largeFile(keyfold: Keyfold, bytes: number): Promise<void> {
  console.log(`\n${bytes / 2 ** 20} MiB of generated data, as a stream, to a file and back`)
  const context = { organization_id: "org_3", data_type: "backup" }
  const path = join(folder, "large.kf")
  const written = createHash("sha256")
  const started = performance.now()
  const source = Readable.toWeb(Readable.from(generate(bytes, written), { objectMode: false }))
  const sealed = await keyfold.encryptStream(source as ReadableStream<Uint8Array>, { context })
  await pipeline(Readable.fromWeb(sealed as Parameters<typeof Readable.fromWeb>[0]), createWriteStream(path))
  const middle = performance.now()

  const input = Readable.toWeb(createReadStream(path, { highWaterMark: 65_536 }))
  const { plaintext } = await keyfold.decryptStream(input as ReadableStream<Uint8Array>, { context })
  const read = createHash("sha256")
  if (broken === "large") read.update("one byte more")
  const bar = await startBar("decrypting", bytes)
  for await (const chunk of plaintext) {
    read.update(chunk)
    bar.add(chunk.length)
  }
  bar.stop()
  const mbps = (ms: number) => `${(bytes / 1000 / ms).toFixed(0)} MB/s`
  console.log(
    `encrypted at ${mbps(middle - started)}, decrypted at ${mbps(performance.now() - middle)}, with generating, hashing and disk; ` +
      `${statSync(path).size - bytes} bytes more than the data`,
  )
  check(
    "large",
    "SHA-256 of what came back",
    read.digest("hex").slice(0, 16),
    written.digest("hex").slice(0, 16),
  )
}

async function* generate(bytes: number, hash: ReturnType<typeof createHash>): AsyncGenerator<Buffer> {
  const bar = await startBar("encrypting", bytes)
  for (let left = bytes; left > 0; left -= 65_536) {
    const chunk = randomFillSync(Buffer.alloc(Math.min(left, 65_536)))
    hash.update(chunk)
    bar.add(chunk.length)
    yield chunk
  }
  bar.stop()
}

function check(step: Step, what: string, found: unknown, expected: unknown): void {
  const holds = found === expected
  if (!holds) failed.add(step)
  console.log(`${holds ? "ok  " : "FAIL"} ${what}: ${found}${holds ? "" : `, not ${expected}`}`)
}

async function outcome(opening: Promise<unknown>): Promise<string> {
  try {
    await opening
    return "opens"
  } catch (error) {
    return error instanceof KeyfoldError ? error.code : "an error without a code"
  }
}

async function countKeks(managed: ManagedProvider): Promise<number> {
  let count = 0
  for await (const _ of managed.list()) count++
  return count
}

function flip(bytes: Uint8Array, at: number): void {
  bytes[at] = (bytes[at] as number) ^ 1
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16)
}
