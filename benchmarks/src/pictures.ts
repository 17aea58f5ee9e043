import * as Plot from "@observablehq/plot"
import { parseHTML } from "linkedom"
import type { PeerResult } from "./compare.ts"
import type { Sample } from "./leaks.ts"
import { PEERS } from "./peers/peers.ts"
import { inBytes } from "./tables.ts"

/** SVG files by name, on a ground of their own, so that light and dark pages show them alike. */
export function pictures(peers: readonly PeerResult[]): Readonly<Record<string, string>> {
  const alone = peers.filter(({ inflight }) => inflight === 1)
  return {
    "time-by-size.svg": draw({
      title: "Microseconds by size of the plaintext (one pair, one caller)",
      rows: alone.filter(({ pairs }) => pairs === 1),
      x: { value: "bytes", type: "log", tickFormat: inBytes },
      y: "us",
    }),
    "time-by-pairs.svg": draw({
      title: "Microseconds by number of pairs (1 KiB, one caller)",
      rows: alone.filter(({ bytes }) => bytes === 1024),
      x: { value: "pairs", type: "point", tickFormat: String },
      y: "us",
    }),
    "throughput.svg": draw({
      title: "Megabytes a second by size of the plaintext (one pair, 32 callers at once)",
      rows: peers.filter(({ inflight, pairs }) => inflight > 1 && pairs === 1),
      x: { value: "bytes", type: "log", tickFormat: inBytes },
      y: ({ bytes, us }) => bytes / us,
    }),
  }
}

/** Heap and resident memory over the time of a leak run. */
export function memoryPicture(samples: readonly Sample[]): string {
  const kinds = [
    { of: "rss_mib", name: "resident memory", colour: "#1b4f9c" },
    { of: "heap_mib", name: "heap in use", colour: "#d95f02" },
  ] as const
  const end = samples.slice(-1)
  const plot = Plot.plot({
    document: emptyDocument(),
    ...{ width: 960, height: 300, marginTop: 40, marginLeft: 56, marginRight: 140 },
    style: STYLE,
    x: { label: "minutes" },
    y: { label: null, grid: true, zero: true },
    marks: [
      ...kinds.map(({ of, colour }) => Plot.line(samples, { x: "minutes", y: of, stroke: colour })),
      ...kinds.map(({ of, name, colour }) =>
        Plot.text(end, {
          ...{ x: "minutes", y: of, text: () => name, fill: colour },
          ...{ textAnchor: "start", dx: 8, fontWeight: "bold" },
        }),
      ),
      heading("MiB under a mixed load, after a collection"),
    ],
  })
  return asFile(plot)
}

const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 3 })

type Picture = {
  readonly title: string
  readonly rows: readonly PeerResult[]
  readonly x: {
    readonly value: "bytes" | "pairs"
    readonly type: "log" | "point"
    readonly tickFormat: (value: number) => string
  }
  readonly y: "us" | ((row: PeerResult) => number)
}

function draw({ title, rows, x, y }: Picture): string {
  const shown = PEERS.filter((peer) => rows.some(({ name }) => name === peer.name))
  const channels = { x: x.value, y, fx: "op", stroke: "name" }
  const plot = Plot.plot({
    document: emptyDocument(),
    ...{ width: 960, height: 400, marginTop: 64, marginLeft: 56, marginRight: 320, marginBottom: 28 },
    style: STYLE,
    fx: { label: null, domain: ["encrypt", "decrypt"], padding: 0.15 },
    x: {
      type: x.type,
      base: 2,
      label: null,
      tickFormat: x.tickFormat,
      ticks: [...new Set(rows.map((row) => row[x.value]))],
    },
    y: { type: "log", label: null, grid: true, ticks: 5, tickFormat: COMPACT.format },
    color: { domain: PEERS.map(({ name }) => name), range: PEERS.map(({ colour }) => colour) },
    marks: [
      Plot.line(rows, { ...channels, z: "name", strokeWidth: 2 }),
      Plot.dot(rows, { ...channels, fill: "name", r: 3 }),
      ...shown.map(({ name, colour }, line) =>
        Plot.text([`— ${name}`], {
          ...{ fx: () => "decrypt", frameAnchor: "top-right", textAnchor: "start" },
          ...{ dx: 16, dy: line * 20, fill: colour, fontWeight: "bold" },
        }),
      ),
      heading(title, "encrypt"),
    ],
  })
  return asFile(plot)
}

const STYLE = { background: "white", color: "black", fontSize: "12px", fontFamily: "sans-serif" }

function heading(title: string, facet?: string) {
  return Plot.text([title], {
    ...(facet === undefined ? {} : { fx: () => facet }),
    ...{ frameAnchor: "top-left", textAnchor: "start", lineAnchor: "bottom" },
    ...{ dx: -40, dy: facet === undefined ? -16 : -40, fontSize: 15, fontWeight: "bold" },
  })
}

function emptyDocument() {
  return parseHTML("<html><body></body></html>").document
}

function asFile(plot: ReturnType<typeof Plot.plot>): string {
  plot.setAttribute("xmlns", "http://www.w3.org/2000/svg")
  return `${plot.outerHTML}\n`
}
