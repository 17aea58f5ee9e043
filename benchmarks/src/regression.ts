import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Comparison } from "./compare.ts"
import { median } from "./median.ts"

/** Ratios of a short run on a busy machine differ by half from those of a long one, in either direction. */
const MOST = 2.5

/** Tells on stderr by how much keyfold fell behind or got ahead of its peers since the results that are kept. */
export function isAsQuickAsBefore(now: Comparison): boolean {
  const path = join(import.meta.dirname, "../results/latest.json")
  const factor = slowdown(now, JSON.parse(readFileSync(path, "utf8")))
  console.error(
    `beside its peers keyfold takes ${factor.toFixed(2)} of what it took (${path}); ${MOST} is too much`,
  )
  return factor <= MOST
}

/** The factor by which keyfold got slower beside its peers: the median over peers and cases that are in both. */
export function slowdown(now: Pick<Comparison, "peers">, then: Pick<Comparison, "peers">): number {
  const factors = now.peers.flatMap((each) => {
    const before = then.peers.find(
      ({ name, op, bytes, pairs, inflight }) =>
        name === each.name &&
        op === each.op &&
        bytes === each.bytes &&
        pairs === each.pairs &&
        inflight === each.inflight,
    )
    return before === undefined || each.name === "keyfold" ? [] : [before.ratio / each.ratio]
  })
  if (factors.length === 0) throw new Error("the two have no case in common")
  return median(factors)
}
