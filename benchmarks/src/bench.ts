/**
 * `pnpm bench [--json] [--quick] [--floor | --peers] [--write | --check]`: keyfold beside its floor and its peers, each in
 * processes of its own, interleaved. `--scale`, `--leaks` and `--workers` measure something else.
 */
import { execFile, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs, promisify } from "node:util"
import { type Comparison, comparePeers } from "./compare.ts"
import type { KmsReport } from "./kms.ts"
import type { Measured } from "./measure.ts"
import { median } from "./median.ts"
import { isAsQuickAsBefore } from "./regression.ts"
import { renderOwn, renderPeers } from "./render.ts"
import { fillStore, VARIANTS, type VariantName } from "./variants.ts"

type OperationResult = {
  readonly op: "encrypt" | "decrypt"
  readonly bytes: number
  readonly pairs: number
  readonly keyfold_us: number
  readonly floor_us: number
  readonly ratio: number
}

/** keyfold beside its floor. Times are medians over processes; `floor` is the quicker of the two key forms. */
export type OwnReport = {
  readonly node: string
  readonly openssl: string
  readonly results: readonly OperationResult[]
  readonly stream: {
    readonly bytes: number
    readonly keyfold_mbps: number
    readonly floor_mbps: number
    readonly ratio: number
  }
} & KmsReport

/** What --json prints; with --peers only the comparison. */
export type Report = Partial<OwnReport> & Comparison

const HELP = `Usage: pnpm bench [--json] [--quick] [--floor [--rounds N] | --peers] [--write | --check] [--node 22|24|26]
       pnpm bench --scale [--json]
       pnpm bench --workers
       pnpm bench --leaks [--minutes 10] [--json] [--write]

Measures encrypt and decrypt through keyfold's public methods (router, managed provider, durable store) beside plain
node:crypto, in multiples of it; then what leases save of the calls to each cloud's KMS; then other libraries doing the
same work, in multiples of keyfold. --json prints the report alone; --quick takes one and three pairs of small payloads,
one process each and a short warm-up, which shows larger ratios, and ends within a minute. --floor leaves the other
libraries out, and takes --rounds processes of each variant (3; more are steadier on a busy machine). --peers measures
the other libraries alone; with --write it puts what it found in benchmarks/results, pictures and the tables of the
documents; with --check it fails where keyfold has fallen far behind what is there. --node runs all of it on another
Node, which npx fetches. --scale measures 1, 1,000 and 1,000,000 KEKs in the durable store instead, --leaks whether
memory grows under a mixed load, --workers what worker threads would gain.
`

/** It takes about two seconds until no part of an operation gets quicker any more (docs/performance.md). */
const FULL = { rounds: 3, warmUpMs: 2000, kmsRounds: 25 }
const QUICK = { rounds: 1, warmUpMs: 300, kmsRounds: 3 }

const { values: options } = parseArgs({
  options: {
    json: { type: "boolean" },
    quick: { type: "boolean", default: false },
    floor: { type: "boolean" },
    rounds: { type: "string" },
    peers: { type: "boolean" },
    write: { type: "boolean" },
    check: { type: "boolean" },
    scale: { type: "boolean" },
    leaks: { type: "boolean" },
    minutes: { type: "string" },
    workers: { type: "boolean" },
    node: { type: "string" },
    help: { type: "boolean" },
  },
})
if (options.help) {
  console.log(HELP)
} else if (options.node !== undefined) {
  onNode(options.node)
} else if (options.scale) {
  await import("./scale.ts")
} else if (options.workers) {
  await import("./workers.ts")
} else if (options.leaks) {
  const script = join(import.meta.dirname, "leaks.ts")
  const child = spawnSync(process.execPath, ["--expose-gc", script, ...process.argv.slice(2)], {
    stdio: "inherit",
  })
  process.exitCode = child.status ?? 1
} else if (options.floor && (options.peers || options.write || options.check)) {
  console.error("--peers, --write and --check are about the other libraries, which --floor leaves out")
  process.exitCode = 2
} else if (options.rounds !== undefined && !(options.floor && /^[1-9]\d?$/.test(options.rounds))) {
  console.error("--rounds is 1 to 99, and goes with --floor")
  process.exitCode = 2
} else if (options.quick && options.write) {
  console.error("--write keeps a full comparison: leave --quick out")
  process.exitCode = 2
} else {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-bench-"))
  try {
    const storePath = join(folder, "keks.db")
    await fillStore(storePath)
    const own = options.peers ? undefined : await measureOwn(storePath, options.quick)
    const comparison = options.floor ? undefined : await comparePeers(storePath, options.quick, progress)
    if (options.json) console.log(JSON.stringify({ ...own, ...comparison }))
    else
      console.log(
        [...(own ? [renderOwn(own)] : []), ...(comparison ? [renderPeers(comparison)] : [])].join("\n"),
      )
    if (options.write && comparison) (await import("./results.ts")).keep("latest", { ...own, ...comparison })
    if (options.check && comparison && !isAsQuickAsBefore(comparison)) process.exitCode = 1
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Runs the same on the newest Node of another line. */
function onNode(line: string): void {
  if (!/^\d\d$/.test(line)) {
    console.error("--node is a line of Node, such as 24")
    process.exitCode = 2
    return
  }
  const given = process.argv
    .slice(2)
    .filter((arg, i, all) => !arg.startsWith("--node") && all[i - 1] !== "--node")
  // On Node 22 node:sqlite says that it is experimental.
  const quiet = "--disable-warning=ExperimentalWarning"
  const node = ["--yes", "-p", `node@${line}`, "node", quiet, import.meta.filename, ...given]
  process.exitCode = spawnSync("npx", node, { stdio: "inherit" }).status ?? 1
}

async function measureOwn(storePath: string, quick: boolean): Promise<OwnReport> {
  const { warmUpMs, kmsRounds, ...rest } = quick ? QUICK : FULL
  const rounds = Number(options.rounds ?? rest.rounds)
  const sizes = quick ? [32, 1024] : [32, 1024, 65_536, 1_048_576]
  const results: OperationResult[] = []
  for (const bytes of sizes) {
    for (const pairs of quick ? [1, 3] : [1, 3, 10]) {
      const measured = await interleave(rounds, bytes, String(pairs), storePath, warmUpMs)
      for (const op of ["encrypt", "decrypt"] as const) {
        const us = (name: VariantName) =>
          median(measured[name].map((each) => (each as Record<string, number>)[`${op}_us`] as number))
        const keyfold_us = us("keyfold")
        const floor_us = Math.min(us("floor-bytes"), us("floor-keyobject"))
        results.push({ op, bytes, pairs, keyfold_us, floor_us, ratio: keyfold_us / floor_us })
      }
      progress(`${bytes} bytes, ${pairs} pairs`)
    }
  }
  const bytes = quick ? 2 ** 26 : 2 ** 28
  const measured = await interleave(rounds, bytes, "stream", storePath, warmUpMs)
  const mbps = (name: VariantName) => median(measured[name].map((each) => (each as { mbps: number }).mbps))
  const keyfold_mbps = mbps("keyfold")
  const floor_mbps = Math.max(mbps("floor-bytes"), mbps("floor-keyobject"))
  const stream = { bytes, keyfold_mbps, floor_mbps, ratio: keyfold_mbps / floor_mbps }
  const { node, openssl } = process.versions
  return { node, openssl, results, stream, ...(await measureKms(kmsRounds)) }
}

/** Runs every variant `rounds` times, turn by turn, so that a noisy minute meets all of them. */
async function interleave(
  rounds: number,
  bytes: number,
  pairs: string,
  storePath: string,
  warmUpMs: number,
): Promise<Record<VariantName, Measured[]>> {
  const measured: Record<VariantName, Measured[]> = { keyfold: [], "floor-bytes": [], "floor-keyobject": [] }
  const script = join(import.meta.dirname, "measure.ts")
  for (let round = 0; round < rounds; round++) {
    for (const name of VARIANTS) {
      const { stdout } = await promisify(execFile)(process.execPath, [
        script,
        name,
        String(bytes),
        pairs,
        storePath,
        String(warmUpMs),
      ])
      measured[name].push(JSON.parse(stdout))
    }
  }
  return measured
}

async function measureKms(rounds: number): Promise<KmsReport> {
  const script = join(import.meta.dirname, "kms.ts")
  const { stdout } = await promisify(execFile)(process.execPath, [script, String(rounds)])
  return JSON.parse(stdout)
}

function progress(done: string): void {
  if (process.stderr.isTTY) process.stderr.write(`measured ${done}\n`)
}
