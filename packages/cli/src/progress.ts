import { Readable } from "node:stream"
import type { SingleBar as Bar } from "cli-progress"

/** Below this a run is over before a bar could be read, in bytes. */
const WORTH_SHOWING = 2 ** 26

/** The same readable, with a progress bar on stderr where that is a terminal and the work is long. */
export function progressOf(readable: Readable, size: number | undefined, label: string): Readable {
  if (!process.stderr.isTTY || size === undefined || size < WORTH_SHOWING) return readable
  return Readable.from(watched(readable, size, label), { objectMode: false, highWaterMark: 65_536 })
}

async function* watched(readable: Readable, size: number, label: string): AsyncGenerator<Buffer> {
  const bar = await startBar(label, size)
  try {
    for await (const chunk of readable) {
      bar.increment(chunk.length / MIB)
      yield chunk
    }
  } finally {
    bar.stop()
  }
}

/** A bar on stderr that counts to `total` bytes in MiB. */
export async function startBar(label: string, total: number): Promise<Bar> {
  const { SingleBar, Presets } = await import("cli-progress")
  const format = `${label} {bar} {percentage}% | {value}/{total} MiB | {eta_formatted} left`
  const formatValue = (value: number, _options: unknown, type: string) =>
    type === "percentage" ? String(value) : value.toFixed(0)
  const bar = new SingleBar(
    { format, formatValue, stream: process.stderr, hideCursor: true },
    Presets.shades_classic,
  )
  bar.start(total / MIB, 0)
  return bar
}

const MIB = 2 ** 20
