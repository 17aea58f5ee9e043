/** Measures one variant in a process of its own, and prints one line of JSON. Started by bench.ts. */
import { randomBytes } from "node:crypto"
import { median } from "./median.ts"
import { openVariant, type Variant, type VariantName } from "./variants.ts"

/** Median microseconds of one operation, or megabytes a second of a stream. */
export type Measured =
  | { readonly encrypt_us: number; readonly decrypt_us: number }
  | { readonly mbps: number }

/** A batch works through about this much, counting what an operation costs without payload as so many bytes. */
const BATCH_BYTES = 16_000_000
const OVERHEAD_BYTES = 16_000
const MEASURE_MS = 400
const CHUNK_BYTES = 65_536

const [name, bytes, pairs, storePath, warmUpMs = "2000"] = process.argv.slice(2) as [
  VariantName,
  string,
  string,
  string,
  string | undefined,
]
const variant = await openVariant(name, Number(pairs === "stream" ? 1 : pairs), storePath)
const measured =
  pairs === "stream" ? await measureStream(variant, Number(bytes)) : await measure(variant, Number(bytes))
await variant.close()
console.log(JSON.stringify(measured))

async function measure({ encrypt, decrypt, plaintextOf }: Variant, bytes: number): Promise<Measured> {
  const plaintext = randomBytes(bytes)
  const batch = Math.max(8, Math.round(BATCH_BYTES / (bytes + OVERHEAD_BYTES)))
  const sealed: unknown[] = []
  for (let i = 0; i < batch; i++) sealed.push(await encrypt(plaintext, i))
  if (!plaintext.equals(plaintextOf(await decrypt(sealed[0], 0)))) throw new Error("the round trip failed")
  const encrypting: number[] = []
  const decrypting: number[] = []
  for (let until = performance.now() + Number(warmUpMs) + MEASURE_MS, warmUntil = until - MEASURE_MS; ; ) {
    const encryptUs = await perOperation(batch, (i) => encrypt(plaintext, i))
    const decryptUs = await perOperation(batch, (i) => decrypt(sealed[i], i))
    const now = performance.now()
    if (now > warmUntil) {
      encrypting.push(encryptUs)
      decrypting.push(decryptUs)
    }
    if (now > until && encrypting.length >= 5) break
  }
  return { encrypt_us: median(encrypting), decrypt_us: median(decrypting) }
}

async function measureStream({ stream }: Variant, total: number): Promise<Measured> {
  const chunk = randomBytes(CHUNK_BYTES)
  await stream(chunk, total / 8)
  const started = performance.now()
  await stream(chunk, total)
  return { mbps: total / 1000 / (performance.now() - started) }
}

/** Waits only for what is a promise, so that the floor pays for none. */
async function perOperation(count: number, call: (i: number) => unknown): Promise<number> {
  const started = performance.now()
  for (let i = 0; i < count; i++) {
    const answer = call(i)
    if (answer instanceof Promise) await answer
  }
  return ((performance.now() - started) * 1000) / count
}
