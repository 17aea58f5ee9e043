import Table from "cli-table3"
import type { OwnReport } from "./bench.ts"
import type { Comparison } from "./compare.ts"

export function renderOwn({ node, openssl, results, stream, kms, kms_throughput }: OwnReport): string {
  const table = new Table({
    head: ["op", "bytes", "pairs", "keyfold µs", "floor µs", "ratio"],
    style: { head: [] },
  })
  for (const { op, bytes, pairs, keyfold_us, floor_us, ratio } of results) {
    table.push([op, bytes, pairs, keyfold_us.toFixed(2), floor_us.toFixed(2), ratio.toFixed(2)])
  }
  const rate = `stream of ${stream.bytes / 2 ** 20} MiB: keyfold ${stream.keyfold_mbps.toFixed(0)} MB/s, floor ${stream.floor_mbps.toFixed(0)} MB/s, ratio ${stream.ratio.toFixed(2)}`
  const calls = new Table({ head: ["kms", "lease", "op", "calls per 1,000"], style: { head: [] } })
  for (const { provider, lease, op, calls_per_1000 } of kms) {
    calls.push([provider, lease ? "on" : "off", op, calls_per_1000])
  }
  const leased = new Table({
    head: ["kms of 20 ms, leases on", "op", "per second", "managed, per second", "ratio"],
    style: { head: [] },
  })
  for (const { provider, op, leased_per_s, managed_per_s, ratio } of kms_throughput) {
    leased.push([provider, op, Math.round(leased_per_s), Math.round(managed_per_s), ratio.toFixed(2)])
  }
  return `${table.toString()}\n${rate}\n${calls.toString()}\n${leased.toString()}\nNode ${node}, OpenSSL ${openssl}; the floor is plain node:crypto without header or commitment`
}

export function renderPeers({ peers }: Comparison): string {
  const table = new Table({
    head: ["op", "bytes", "pairs", "in flight", "name", "µs", "of keyfold's"],
    style: { head: [] },
  })
  for (const { op, bytes, pairs, inflight, name, us, ratio } of peers) {
    table.push([op, bytes, pairs, inflight, name, us.toFixed(2), ratio.toFixed(2)])
  }
  return table.toString()
}
