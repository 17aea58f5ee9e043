import type { Comparison, PeerResult } from "./compare.ts"
import type { Leaks } from "./leaks.ts"
import { PEERS } from "./peers/peers.ts"
import type { Slope } from "./slope.ts"

type Op = PeerResult["op"]
type Column = Omit<PeerResult, "name" | "us" | "ratio">

const SMALL = [32, 1024]
const LARGE = [1_048_576, 67_108_864]

/** What issue "Speed" demands of keyfold's distance to a peer, for one caller: the least ratio. */
const BARS: readonly {
  readonly peer: string
  readonly bytes: readonly number[]
  readonly pairs: readonly number[]
  readonly ratio: number
}[] = [
  { peer: "AWS Encryption SDK", bytes: SMALL, pairs: [1, 3, 10], ratio: 100 },
  { peer: "AWS Encryption SDK, unsigned", bytes: SMALL, pairs: [1, 3, 10], ratio: 20 },
  { peer: "jose, A256GCMKW", bytes: SMALL, pairs: [1], ratio: 10 },
  { peer: "jose, A256KW", bytes: SMALL, pairs: [1], ratio: 10 },
  { peer: "jose, A256GCMKW", bytes: SMALL, pairs: [3, 10], ratio: 20 },
  { peer: "jose, A256KW", bytes: SMALL, pairs: [3, 10], ratio: 20 },
  { peer: "noble", bytes: SMALL, pairs: [1, 3, 10], ratio: 5 },
  { peer: "AWS Encryption SDK, unsigned, best frames", bytes: LARGE, pairs: [1, 3, 10], ratio: 2.5 },
  { peer: "jose, A256GCMKW", bytes: LARGE, pairs: [1, 3, 10], ratio: 20 },
  { peer: "jose, A256KW", bytes: LARGE, pairs: [1, 3, 10], ratio: 20 },
  { peer: "noble", bytes: LARGE, pairs: [1, 3, 10], ratio: 30 },
]

const FLOOR = "node:crypto (floor)"

/** The parts of the documents that are made from results, by the name in their marks. */
export function tables(report: Comparison, leaks: Leaks): Readonly<Record<string, string>> {
  const of = (
    op: Op,
    inflight: number,
    cases: readonly (readonly [bytes: number, pairs: number])[],
  ): Column[] => cases.map(([bytes, pairs]) => ({ op, bytes, pairs, inflight }))
  const every = (op: Op, inflight: number) =>
    of(op, inflight, [
      ...[32, 1024].flatMap((bytes) => [1, 3, 10].map((pairs) => [bytes, pairs] as const)),
      ...[65_536, 1_048_576, 67_108_864].map((bytes) => [bytes, 1] as const),
    ])
  const few = [
    [1024, 1],
    [1024, 10],
    [1_048_576, 1],
  ] as const
  return {
    summary: ratios(report, [...of("encrypt", 1, few), ...of("decrypt", 1, few)]),
    encrypt: ratios(report, every("encrypt", 1)),
    decrypt: ratios(report, every("decrypt", 1)),
    "encrypt-32": ratios(report, every("encrypt", 32).slice(0, -1)),
    "decrypt-32": ratios(report, every("decrypt", 32).slice(0, -1)),
    bars: bars(report.peers),
    conditions: conditions(report),
    leaks: memory(leaks),
  }
}

/** Replaces each marked part of a document by the table of its name. */
export function fillIn(text: string, tables: Readonly<Record<string, string>>): string {
  return text.replace(/(<!-- bench: (\S+) -->\n).*?(<!-- end -->)/gs, (_, begin, name, end) => {
    const table = tables[name]
    if (table === undefined) throw new Error(`there is no table ${name}`)
    return `${begin}\n${table}\n\n${end}`
  })
}

export function inBytes(bytes: number): string {
  const unit = bytes < 1024 ? 0 : bytes < 1_048_576 ? 1 : 2
  return `${bytes / 1024 ** unit} ${["B", "KiB", "MiB"][unit]}`
}

/** keyfold's times, and below them everyone else's as multiples of them. */
function ratios({ peers }: Comparison, columns: readonly Column[]): string {
  const bothOps = new Set(columns.map(({ op }) => op)).size > 1
  const head = columns.map(
    ({ op, bytes, pairs }) => `${bothOps ? `${op} ` : ""}${inBytes(bytes)}, N=${pairs}`,
  )
  const rows = PEERS.map(({ name }) => {
    const cells = columns.map((column) => {
      const found = peers.find((each) => each.name === name && isOf(each, column))
      if (found === undefined) return ""
      return name === "keyfold" ? inTime(found.us) : `${digits(found.ratio)}×`
    })
    return [name, ...cells]
  })
  return markdown(["", ...head], rows)
}

function conditions({ machine, versions }: Comparison): string {
  const software = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  const load = machine.load.map((each) => each.toFixed(1)).join(" before and ")
  return `${machine.cores} cores of ${machine.cpu}, load ${load} after; ${software.join(", ")}.`
}

function memory({ minutes, rounds, heap, rss, samples }: Leaks): string {
  const row = (name: string, of: "heap_mib" | "rss_mib", { slope, error }: Slope) => {
    const sizes = samples.map((sample) => sample[of])
    const [least, most] = [Math.min(...sizes), Math.max(...sizes)].map((size) => `${Math.round(size)} MiB`)
    return [name, least as string, most as string, `${slope.toFixed(1)} ± ${error.toFixed(1)} MiB an hour`]
  }
  const table = [row("heap in use", "heap_mib", heap), row("resident", "rss_mib", rss)]
  const load = `${minutes} minutes, ${rounds} rounds of the load, ${samples.length} samples:`
  return `${load}\n\n${markdown(["", "least", "most", "slope"], table)}`
}

function isOf(result: PeerResult, { op, bytes, pairs, inflight }: Column): boolean {
  return result.op === op && result.bytes === bytes && result.pairs === pairs && result.inflight === inflight
}

function bars(peers: readonly PeerResult[]): string {
  const rows = BARS.map(({ peer, bytes, pairs, ratio }) => {
    const found = peers.filter(
      (each) =>
        each.name === peer && each.inflight === 1 && bytes.includes(each.bytes) && pairs.includes(each.pairs),
    )
    const range = (all: readonly number[]) => `${digits(Math.min(...all))} to ${digits(Math.max(...all))}`
    const own = (op: Op) => range(found.filter((each) => each.op === op).map((each) => each.ratio))
    // Whether plain node:crypto, which nothing over it can beat, is as far ahead itself.
    const floors = found.map((each) => {
      const floor = peers.find((other) => other.name === FLOOR && isOf(other, each))
      return each.us / (floor?.us ?? Number.NaN)
    })
    const least = Math.min(...found.map((each) => each.ratio))
    const sizes = bytes === SMALL ? "≤ 1 KiB" : "≥ 1 MiB"
    const verdict = least >= ratio ? "met" : "missed"
    const cells = [peer, sizes, pairs.join(", "), `${ratio}×`, own("encrypt"), own("decrypt"), verdict]
    return [...cells, range(floors)]
  })
  return markdown(["peer", "size", "N", "bar", "encrypt", "decrypt", "", "node:crypto itself"], rows)
}

function inTime(us: number): string {
  return us < 1000 ? `${digits(us)} µs` : `${digits(us / 1000)} ms`
}

/** Two digits that count; no more of a ratio is the same in the next run. */
function digits(value: number): string {
  return value >= 99.5 ? String(Number(value.toPrecision(2))) : value.toPrecision(2)
}

function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((_, i) => Math.max(3, ...[head, ...rows].map((row) => row[i]?.length ?? 0)))
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] as number)).join(" | ")} |`
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n")
}
