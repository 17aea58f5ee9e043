/** One process with its threads: each encrypts as often as it is told, and keeps the random values that were drawn. */
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { isMainThread, threadId, Worker, workerData } from "node:worker_threads"
import { createKeyfold, type Kek, type Router } from "@keyfold/core"
import { createManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { VALUES } from "./repeats.ts"

/** A folder for the values, how many encryptions each thread makes, and how many threads there are. */
type Order = { readonly folder: string; readonly count: number; readonly threads: number }

if (isMainThread) {
  const [, , folder = "", count, threads] = process.argv
  const order: Order = { folder, count: Number(count), threads: Number(threads) }
  const others = Array.from({ length: order.threads - 1 }, () => {
    const worker = new Worker(new URL(import.meta.url), { workerData: order })
    return new Promise<void>((resolve, reject) => {
      worker.once("error", reject).once("exit", () => resolve())
    })
  })
  await encryptMany(order)
  await Promise.all(others)
} else {
  await encryptMany(workerData as Order)
}

async function encryptMany({ folder, count }: Order): Promise<void> {
  const kept = [0, 1, 2].map(() => Buffer.alloc(count * 8))
  let made = 0
  const keep = (value: number, bytes: Uint8Array) => kept[value]?.set(bytes.subarray(0, 8), made * 8)
  const salts: Buffer[] = []
  const root = { key: crypto.getRandomValues(new Uint8Array(32)) }
  const managed = await createManagedProvider({ store: memoryStore(), root, environment: "uniqueness" })
  const kek = await managed.kekFor({ name: "user", value: "1" })
  const watched: Kek = {
    providerId: kek.providerId,
    keyId: kek.keyId,
    wrap(secret, context, options) {
      const record = kek.wrap(secret, context, options)
      if (record instanceof Promise) throw new Error("a managed KEK in memory answers at once")
      keep(1, secret)
      keep(2, record.wrapped.subarray(16))
      // A salt serves up to 2^20 IVs (docs/format.md, "Security"); a new one is noted when it comes.
      const salt = Buffer.from(record.wrapped.subarray(0, 8))
      if (salts.at(-1)?.equals(salt) !== true) salts.push(salt)
      return record
    },
    unwrap: (record, context, options) => kek.unwrap(record, context, options),
    describe: (options) => kek.describe(options),
    classify: (error) => kek.classify(error),
  }
  const router: Router = {
    forWriting: ({ pairs }) => [{ kek: watched, covered: pairs, mask: 1, owner: "", companion: undefined }],
    forReading: () => [],
  }
  const keyfold = createKeyfold({ router })
  const options = { context: { user: "1" } }
  for (; made < count; made++) {
    const envelope = await keyfold.encrypt("x", options)
    keep(0, envelope.subarray(9))
  }
  await managed.close()
  for (const [i, bytes] of [...kept, Buffer.concat(salts)].entries()) {
    writeFileSync(join(folder, `${VALUES[i]}.${process.pid}.${threadId}`), bytes)
  }
}
