import type { Engine } from "./engine.ts"
import { runOperation } from "./engine.ts"
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

export function encryptMany(
  engine: Engine,
  items: Iterable<EncryptItem>,
  options: ManyOptions,
): Promise<Result<Uint8Array | string>[]> {
  return eachOf(items, options, (item) =>
    runOperation(engine, "encrypt", options, (operation) =>
      encrypt(engine, operation, checkItem(item).plaintext, item),
    ),
  )
}

export function decryptMany(
  engine: Engine,
  items: Iterable<DecryptItem>,
  options: ManyOptions,
): Promise<Result<Decrypted>[]> {
  const inFlight: Operation["inFlight"] = new Map()
  return eachOf(items, options, (item) =>
    runOperation(
      engine,
      "decrypt",
      options,
      (operation) => decrypt(engine, operation, checkItem(item).envelope, item),
      inFlight,
    ),
  )
}

/** Runs `work` over the items, a bounded number at once; one that fails fails alone. Results keep their order. */
async function eachOf<Item, Value>(
  items: Iterable<Item>,
  { concurrency = 32 }: ManyOptions,
  work: (item: Item) => Promise<Value>,
): Promise<Result<Value>[]> {
  if (!Number.isInteger(concurrency) || concurrency < 1 || concurrency > 1024) {
    throw new KeyfoldError("INVALID_ARGUMENT", "concurrency is a whole number from 1 to 1,024")
  }
  if (typeof items?.[Symbol.iterator] !== "function") {
    throw new KeyfoldError("INVALID_ARGUMENT", "items is an array, or another iterable")
  }
  const results: Result<Value>[] = []
  const entries = Array.from(items).entries()
  const worker = async () => {
    for (const [i, item] of entries) {
      try {
        results[i] = { ok: true, value: await work(item) }
      } catch (error) {
        results[i] = { ok: false, error: error as KeyfoldError }
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return results
}

function checkItem<Item>(item: Item): Item {
  if (typeof item !== "object" || item === null) {
    throw new KeyfoldError("INVALID_ARGUMENT", "an item is an object, such as { plaintext, context }")
  }
  return item
}
