import { type ChildProcess, fork } from "node:child_process"
import { once } from "node:events"
import { readFileSync } from "node:fs"
import { availableParallelism, cpus, loadavg } from "node:os"
import { join } from "node:path"
import type { Op, Task } from "./peer-process.ts"
import { PEERS, type Peer } from "./peers/peers.ts"

export type PeerResult = {
  readonly name: string
  readonly op: Op
  readonly bytes: number
  readonly pairs: number
  readonly inflight: number
  /** Lower quartile, over the turns, of the microseconds an operation took: what else runs can only add to them. */
  readonly us: number
  /** Its time divided by keyfold's: above 1, keyfold is quicker. */
  readonly ratio: number
}

export type Comparison = {
  readonly machine: {
    readonly cpu: string
    readonly cores: number
    /** Load averages of a minute, before and after. The comparison itself is a load of about one. */
    readonly load: readonly [before: number, after: number]
  }
  /** Of Node, OpenSSL and the peers' packages. */
  readonly versions: Readonly<Record<string, string>>
  readonly peers: readonly PeerResult[]
}

type Runner = Peer & { readonly child: ChildProcess }
type Case = { readonly bytes: number; readonly pairs: number; readonly inflight: number }

const OPS = ["encrypt", "decrypt"] as const
const PACKAGES = ["@aws-crypto/client-node", "jose", "@workos-inc/node", "@noble/ciphers", "sodium-native"]
const LARGE = 2 ** 26
const SIZES = [32, 1024, 65_536, 1_048_576]
/** 64 MiB take the same time whatever is wrapped, and 32 of them at once take gigabytes. */
const FULL: readonly Case[] = [
  ...[1, 3, 10].flatMap((pairs) =>
    SIZES.flatMap((bytes) => [1, 32].map((inflight) => ({ bytes, pairs, inflight }))),
  ),
  { bytes: LARGE, pairs: 1, inflight: 1 },
]
const QUICK: readonly Case[] = [{ bytes: 1024, pairs: 1, inflight: 1 }]

/**
 * keyfold beside its peers. Each has a process of its own, in which nothing else was compiled, and they work turn by
 * turn while the others wait, so that a noisy moment meets all of them.
 */
export async function comparePeers(
  storePath: string,
  quick: boolean,
  progress: (done: string) => void,
): Promise<Comparison> {
  const script = join(import.meta.dirname, "peer-process.ts")
  const runners = PEERS.map((peer): Runner => ({ ...peer, child: fork(script, [peer.name]) }))
  const peers: PeerResult[] = []
  const before = minuteLoad()
  try {
    let open = 0
    for (const each of quick ? QUICK : FULL) {
      if (each.pairs !== open) {
        for (const runner of runners) {
          if (open > 0) await ask(runner, { task: "close" })
          await ask(runner, { task: "open", pairs: each.pairs, storePath })
        }
        open = each.pairs
      }
      peers.push(...(await compare(runners, each, quick, peers.length === 0)))
      progress(`${each.bytes} bytes, ${each.pairs} pairs, ${each.inflight} in flight`)
    }
    for (const runner of runners) await ask(runner, { task: "close" })
  } finally {
    for (const { child } of runners) child.kill()
  }
  const load = [before, minuteLoad()] as const
  const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), load }
  const { node, openssl } = process.versions
  const packages = Object.fromEntries(PACKAGES.map((name) => [name, versionOf(name)]))
  return { machine, versions: { Node: node, OpenSSL: openssl, ...packages }, peers }
}

async function compare(all: readonly Runner[], each: Case, quick: boolean, first: boolean) {
  const { bytes, pairs, inflight } = each
  const runners = all.filter(({ differs }) => differs(bytes, pairs))
  // Code is compiled once; after that, caches are to be filled. One of the peers takes ten seconds for 64 MiB.
  const warmUpMs = bytes === LARGE ? 0 : first ? (quick ? 200 : 2000) : 100
  for (const runner of runners) await ask(runner, { task: "prepare", bytes, inflight, warmUpMs })
  const times = runners.map((): Record<Op, number[]> => ({ encrypt: [], decrypt: [] }))
  for (let round = 0; round < (bytes === LARGE ? 3 : quick || bytes >= 2 ** 20 ? 5 : 9); round++) {
    for (const [i, runner] of runners.entries()) {
      for (const op of OPS) times[i]?.[op].push(await ask(runner, { task: "turn", op }))
    }
  }
  const keyfold = runners.findIndex(({ name }) => name === "keyfold")
  return OPS.flatMap((op) => {
    const us = times.map((each) => lowerQuartile(each[op]))
    return runners.map(({ name }, i): PeerResult => {
      const time = us[i] as number
      return { name, op, bytes, pairs, inflight, us: time, ratio: time / (us[keyfold] as number) }
    })
  })
}

async function ask({ name, child }: Runner, task: Task): Promise<number> {
  child.send(task)
  const waiting = new AbortController()
  const { signal } = waiting
  try {
    const exited = once(child, "exit", { signal }).then(() => {
      throw new Error(`the process of ${name} ended`)
    })
    const [answer] = await Promise.race([once(child, "message", { signal }), exited])
    return answer
  } finally {
    waiting.abort()
  }
}

function minuteLoad(): number {
  return loadavg()[0] ?? 0
}

function lowerQuartile(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 2] as number
}

function versionOf(name: string): string {
  const manifest = join(import.meta.dirname, "../node_modules", name, "package.json")
  return JSON.parse(readFileSync(manifest, "utf8")).version
}
