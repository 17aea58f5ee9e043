/**
 * What is measured: keyfold through its public methods, and the floor, plain `node:crypto` doing the same payload
 * encryption and the same number of wraps with no header, no commitment and no context.
 */
import { createCipheriv, createDecipheriv, createSecretKey, type KeyObject, randomBytes } from "node:crypto"
import { createKeyfold, type KeyContext } from "@keyfold/core"
import { createManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"

/** One way to do the work. The i of a call picks the context; one without promises answers at once. */
export type Cipher<Sealed = unknown, Opened = unknown> = {
  encrypt(plaintext: Uint8Array, i: number): Sealed | Promise<Sealed>
  decrypt(sealed: Sealed, i: number): Opened | Promise<Opened>
  /** The plaintext in what `decrypt` gave, for the check of the round trip. */
  plaintextOf(opened: Opened): Uint8Array
  close(): Promise<void>
}

export type Variant = Cipher & {
  /** Encrypts `total` bytes in chunks of `chunk.length`, handing each on and keeping none. */
  readonly stream: (chunk: Uint8Array, total: number) => Promise<void>
}

/** Distinct contexts that calls are drawn from, so that no cache of one entry answers. */
export const CONTEXTS = 1000
export const VARIANTS = ["keyfold", "floor-bytes", "floor-keyobject"] as const
export type VariantName = (typeof VARIANTS)[number]

/** The i-th context of `pairs` pairs: its organization is one of 1,000, the rest is shared. */
export function contextOf(i: number, pairs: number): KeyContext {
  const context: Record<string, string> = { organization_id: `org_${i % CONTEXTS}` }
  for (let pair = 1; pair < pairs; pair++) context[`attribute_${pair}`] = `value_${pair}`
  return context
}

export function contextsOf(pairs: number): KeyContext[] {
  return Array.from({ length: CONTEXTS }, (_, i) => contextOf(i, pairs))
}

export function openVariant(name: VariantName, pairs: number, storePath: string): Promise<Variant> {
  return name === "keyfold" ? keyfoldVariant(pairs, storePath) : Promise.resolve(floorVariant(name, pairs))
}

/** Fills the store with the KEKs of every context, so that no measured call makes one. */
export async function fillStore(storePath: string): Promise<void> {
  const { encrypt, close } = await keyfoldVariant(10, storePath)
  for (let i = 0; i < CONTEXTS; i++) await encrypt(new Uint8Array(1), i)
  await close()
}

async function keyfoldVariant(pairs: number, storePath: string): Promise<Variant> {
  const root = { key: new Uint8Array(32).fill(7) }
  const managed = await createManagedProvider({ store: sqliteStore(storePath), root, environment: "bench" })
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  const contexts = contextsOf(pairs)
  const context = (i: number) => contexts[i % CONTEXTS] as KeyContext
  return {
    encrypt: (plaintext, i) => keyfold.encrypt(plaintext, { context: context(i) }),
    decrypt: (sealed, i) => keyfold.decrypt(sealed as Uint8Array, { context: context(i) }),
    plaintextOf: (opened) => (opened as { plaintext: Uint8Array }).plaintext,
    stream: async (chunk, total) => {
      let left = total
      const source = new ReadableStream<Uint8Array>({
        pull(controller) {
          if (left <= 0) return controller.close()
          controller.enqueue(chunk)
          left -= chunk.length
        },
      })
      const reader = (await keyfold.encryptStream(source, { context: context(0) })).getReader()
      while (!(await reader.read()).done);
    },
    close: () => managed.close(),
  }
}

type Wrapped = { readonly iv: Uint8Array; readonly ciphertext: Uint8Array; readonly tag: Uint8Array }
type FloorSealed = {
  readonly iv: Uint8Array
  readonly sealed: Uint8Array
  readonly wraps: readonly Wrapped[]
}

function floorVariant(name: VariantName, pairs: number): Variant {
  const asKey = (bytes: Uint8Array): Uint8Array | KeyObject =>
    name === "floor-keyobject" ? createSecretKey(bytes) : bytes
  const keks = Array.from({ length: CONTEXTS }, () =>
    Array.from({ length: pairs }, () => asKey(randomBytes(32))),
  )
  const aad = randomBytes(32)
  return {
    encrypt: (plaintext, i): FloorSealed => {
      const dek = randomBytes(32)
      const iv = randomBytes(12)
      const cipher = createCipheriv("aes-256-gcm", asKey(dek), iv)
      const ciphertext = cipher.update(plaintext)
      cipher.final()
      const sealed = Buffer.concat([ciphertext, cipher.getAuthTag()])
      const wraps = (keks[i % CONTEXTS] as (Uint8Array | KeyObject)[]).map((kek): Wrapped => {
        const iv = randomBytes(12)
        const cipher = createCipheriv("aes-256-gcm", kek, iv)
        cipher.setAAD(aad)
        const ciphertext = cipher.update(dek)
        cipher.final()
        return { iv, ciphertext, tag: cipher.getAuthTag() }
      })
      return { iv, sealed, wraps }
    },
    decrypt: (input, i): Uint8Array => {
      const { iv, sealed, wraps } = input as FloorSealed
      let dek = new Uint8Array(0)
      wraps.forEach(({ iv, ciphertext, tag }, pair) => {
        const kek = (keks[i % CONTEXTS] as (Uint8Array | KeyObject)[])[pair] as Uint8Array
        const decipher = createDecipheriv("aes-256-gcm", kek, iv)
        decipher.setAAD(aad)
        decipher.setAuthTag(tag)
        dek = decipher.update(ciphertext)
        decipher.final()
      })
      const decipher = createDecipheriv("aes-256-gcm", asKey(dek), iv)
      decipher.setAuthTag(sealed.subarray(-16))
      const plaintext = decipher.update(sealed.subarray(0, -16))
      decipher.final()
      return plaintext
    },
    plaintextOf: (opened) => opened as Uint8Array,
    stream: async (chunk, total) => {
      const cipher = createCipheriv("aes-256-gcm", asKey(randomBytes(32)), randomBytes(12))
      for (let done = 0; done < total; done += chunk.length) cipher.update(chunk)
      cipher.final()
      cipher.getAuthTag()
    },
    close: async () => undefined,
  }
}
