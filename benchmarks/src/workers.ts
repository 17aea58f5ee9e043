/**
 * `pnpm bench --workers`: what worker threads would gain for one large payload: its segments sealed on this thread, and
 * shared out over two workers through shared memory, each with the copies that it needs. No part of keyfold.
 */
import { createCipheriv, randomBytes } from "node:crypto"
import { once } from "node:events"
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads"
import { median } from "./median.ts"

type Job = { readonly key: Uint8Array; readonly input: SharedArrayBuffer; readonly output: SharedArrayBuffer }
type Part = { readonly from: number; readonly to: number }

const SEGMENT = 2 ** 20
const TAG_BYTES = 16
const WORKERS = 2
const ROUNDS = 9

function sealSegment(key: Uint8Array, index: number, segment: Uint8Array, out: Uint8Array): void {
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setUint32(7, index)
  const cipher = createCipheriv("aes-256-gcm", key, nonce)
  const at = index * (SEGMENT + TAG_BYTES)
  out.set(cipher.update(segment), at)
  cipher.final()
  out.set(cipher.getAuthTag(), at + segment.length)
}

function sealPart(key: Uint8Array, input: Uint8Array, output: Uint8Array, { from, to }: Part): void {
  for (let i = from; i < to; i++) sealSegment(key, i, input.subarray(i * SEGMENT, (i + 1) * SEGMENT), output)
}

if (isMainThread) {
  for (const mebibytes of [16, 64, 256]) await compare(mebibytes)
} else {
  const { key, input, output } = workerData as Job
  parentPort?.on("message", (part: Part) => {
    sealPart(key, new Uint8Array(input), new Uint8Array(output), part)
    parentPort?.postMessage("done")
  })
}

async function compare(segments: number): Promise<void> {
  const plaintext = randomBytes(segments * SEGMENT)
  const key = randomBytes(32)
  const sealedBytes = segments * (SEGMENT + TAG_BYTES)
  const input = new SharedArrayBuffer(plaintext.length)
  const output = new SharedArrayBuffer(sealedBytes)
  const workers = Array.from(
    { length: WORKERS },
    () => new Worker(import.meta.filename, { workerData: { key, input, output } satisfies Job }),
  )
  await Promise.all(workers.map((worker) => once(worker, "online")))
  const times = { alone: [] as number[], shared: [] as number[] }
  for (let round = 0; round < ROUNDS; round++) {
    let started = performance.now()
    const alone = new Uint8Array(sealedBytes)
    sealPart(key, plaintext, alone, { from: 0, to: segments })
    times.alone.push(performance.now() - started)

    started = performance.now()
    new Uint8Array(input).set(plaintext)
    await Promise.all(
      workers.map((worker, i) => {
        const part = { from: (i * segments) / WORKERS, to: ((i + 1) * segments) / WORKERS }
        worker.postMessage(part satisfies Part)
        return once(worker, "message")
      }),
    )
    const shared = new Uint8Array(sealedBytes)
    shared.set(new Uint8Array(output))
    times.shared.push(performance.now() - started)
    if (!Buffer.from(alone.buffer).equals(shared)) throw new Error("the two differ")
  }
  await Promise.all(workers.map((worker) => worker.terminate()))
  const [alone, shared] = [median(times.alone), median(times.shared)]
  console.log(
    `${segments} MiB: one thread ${alone.toFixed(0)} ms, ${WORKERS} workers ${shared.toFixed(0)} ms, ${(alone / shared).toFixed(2)}×`,
  )
}
