import type { Engine } from "./engine.ts"
import { asKeyfoldError, runOperation } from "./engine.ts"
import { KeyfoldError } from "./errors.ts"
import type { Operation } from "./kek-call.ts"
import {
  type Decrypted,
  type DecryptOptions,
  decrypt,
  type EncryptOptions,
  encrypt,
  type Output,
} from "./message.ts"

export type EncryptItem = Omit<EncryptOptions, "signal"> & {
  readonly plaintext: Uint8Array | string
  readonly output?: Output
}
export type DecryptItem = Omit<DecryptOptions, "signal"> & { readonly envelope: Uint8Array | string }

export type ManyOptions = {
  /** Items under way at once, 1 to 1,024. Default 32. */
  readonly concurrency?: number
  /** Ends all that is not done yet: those items fail with `ABORTED`. */
  readonly signal?: AbortSignal
}

/** What became of one item. */
export type Result<Value> =
  | { readonly ok: true; readonly value: Value }
  | { readonly ok: false; readonly error: KeyfoldError }

export async function encryptMany(
  engine: Engine,
  items: Iterable<EncryptItem>,
  options: ManyOptions,
): Promise<Result<Uint8Array | string>[]> {
  const many = checkMany(items, options)
  return eachOf(many, (item) =>
    runOperation(engine, "encrypt", withSignal(item, many.signal), (operation, own) =>
      encrypt(engine, operation, own.plaintext, own),
    ),
  )
}

export async function decryptMany(
  engine: Engine,
  items: Iterable<DecryptItem>,
  options: ManyOptions,
): Promise<Result<Decrypted>[]> {
  const inFlight: Operation["inFlight"] = new Map()
  const many = checkMany(items, options)
  return eachOf(many, (item) =>
    runOperation(
      engine,
      "decrypt",
      withSignal(item, many.signal),
      (operation, own) => decrypt(engine, operation, own.envelope, own),
      inFlight,
    ),
  )
}

type Many<Item> = {
  readonly items: readonly Item[]
  readonly concurrency: number
  readonly signal: AbortSignal | undefined
}

/** Runs `work` over the items, a bounded number at once; one that fails fails alone. Results keep their order. */
async function eachOf<Item, Value>(
  { items, concurrency, signal }: Many<Item>,
  work: (item: Item) => Promise<Value>,
): Promise<Result<Value>[]> {
  const results: Result<Value>[] = []
  const entries = items.entries()
  const worker = async () => {
    for (const [i, item] of entries) {
      try {
        results[i] = { ok: true, value: await work(item) }
      } catch (error) {
        results[i] = { ok: false, error: asKeyfoldError(error, signal) }
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return results
}

/** @throws KeyfoldError `INVALID_ARGUMENT` */
function checkMany<Item>(items: Iterable<Item>, options: ManyOptions): Many<Item> {
  const { concurrency = 32, signal } = options ?? {}
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1024) {
    throw new KeyfoldError("INVALID_ARGUMENT", "concurrency is a whole number from 1 to 1,024")
  }
  try {
    return { items: Array.from(items), concurrency, signal }
  } catch (cause) {
    throw new KeyfoldError("INVALID_ARGUMENT", "items is an array, or another iterable", { cause })
  }
}

/** An item with the signal of all; what is no object is refused when it is run. */
function withSignal<Item>(
  item: Item,
  signal: AbortSignal | undefined,
): Item & { readonly signal?: AbortSignal } {
  if (typeof item !== "object" || item === null) return item as Item & object
  return { ...item, ...(signal !== undefined && { signal }) }
}
