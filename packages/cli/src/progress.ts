import { Readable } from "node:stream"
import { onFailure } from "./cleanup.ts"

/** Below this a run is over before a bar could be read, in bytes. */
const WORTH_SHOWING = 2 ** 26
const MIB = 2 ** 20

/** Shows how far a long work has come. */
export type Bar = { readonly add: (bytes: number) => void; readonly stop: () => void }

/** The same readable, with a progress bar on stderr where that is a terminal and the work is long. */
export function progressOf(readable: Readable, size: number | undefined, label: string): Readable {
  if (size === undefined || size < WORTH_SHOWING || !process.stderr.isTTY) return readable
  return Readable.from(watched(readable, size, label), { objectMode: false, highWaterMark: 65_536 })
}

/** A bar on stderr that counts to `total` bytes; silent where that is no terminal. */
export async function startBar(label: string, total: number): Promise<Bar> {
  const bar = await openBar(label, "MiB")
  bar?.start(Math.ceil(total / MIB), 0)
  let done = 0
  return {
    add(bytes) {
      done += bytes
      bar?.update(Math.floor(done / MIB))
    },
    stop: () => bar?.stop(),
  }
}

/** A bar on stderr that counts things whose number may still change; silent where that is no terminal. */
export async function startCount(
  things: string,
  label = "moving",
): Promise<{ readonly set: (done: number, total: number) => void; readonly stop: () => void }> {
  const bar = await openBar(label, things)
  bar?.start(0, 0)
  return {
    set(done, total) {
      bar?.setTotal(total)
      bar?.update(done)
    },
    stop: () => bar?.stop(),
  }
}

async function openBar(label: string, unit: string) {
  if (!process.stderr.isTTY) return undefined
  const { SingleBar, Presets } = await import("cli-progress")
  const format = `${label} {bar} {percentage}% | {value}/{total} ${unit} | {duration_formatted}`
  const bar = new SingleBar({ format, stream: process.stderr }, Presets.shades_classic)
  // So that an error stands on a line of its own.
  const forget = onFailure(() => bar.stop())
  return {
    start: (total: number, done: number) => bar.start(total, done),
    setTotal: (total: number) => bar.setTotal(total),
    update: (done: number) => bar.update(done),
    stop() {
      bar.stop()
      forget()
    },
  }
}

async function* watched(readable: Readable, size: number, label: string): AsyncGenerator<Buffer> {
  const bar = await startBar(label, size)
  try {
    for await (const chunk of readable) {
      bar.add(chunk.length)
      yield chunk
    }
  } finally {
    bar.stop()
  }
}
