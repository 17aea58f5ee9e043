import {
  type DataKey,
  decryptDataKey,
  type GenerateDataKeyOptions,
  type GeneratedDataKey,
  generateDataKey,
  type RekeyOptions,
  rekeyDataKey,
} from "./data-key.ts"
import { type Engine, type OpenOptions, runOperation } from "./engine.ts"
import { KeyfoldError } from "./errors.ts"
import { type EnvelopeFacts, inspect } from "./inspect.ts"
import type { KeyfoldEvent, Operation, OperationName } from "./kek-call.ts"
import {
  type DecryptItem,
  decryptMany,
  type EncryptItem,
  encryptMany,
  type ManyOptions,
  type Result,
} from "./many.ts"
import {
  type Decrypted,
  type DecryptOptions,
  decrypt,
  type EncryptOptions,
  encrypt,
  type RewrapOptions,
  reencrypt,
  rewrap,
} from "./message.ts"
import { decryptRange, type RangeSource } from "./range.ts"
import type { Router } from "./route.ts"
import { type DecryptedStream, decryptStream, type EncryptStreamOptions, encryptStream } from "./stream.ts"

export type KeyfoldOptions = {
  /** Picks the KEKs of a key context. */
  readonly router: Router
  /** Bound of each KEK call, its retries included, in milliseconds, 1 to 600,000. Default 5,000. */
  readonly deadlineMs?: number
  /** Told of every KEK call and every operation, never a value. What it throws is ignored. */
  readonly onEvent?: (event: KeyfoldEvent) => void
}

/**
 * Envelope encryption under a key context. Every method rejects with a `KeyfoldError` and nothing else; all of them
 * can fail with `INVALID_ARGUMENT`, `INVALID_CONTEXT`, `ABORTED`, what routing failed with (`NO_ROUTE`,
 * `AMBIGUOUS_BINDING`, `STORE_…`) and what a KEK failed with (`KEY_…`, `PERMISSION_DENIED`, `THROTTLED`,
 * `UNAVAILABLE`, `TIMEOUT`, `UNKNOWN`). Those that read an envelope add `MALFORMED_ENVELOPE`, `UNSUPPORTED_VERSION`
 * and `DECRYPTION_FAILED`. An envelope given as a string is base64url.
 */
export interface Keyfold {
  /** Encrypts bytes, or a string as UTF-8, in memory. */
  encrypt(
    plaintext: Uint8Array | string,
    options: EncryptOptions & { readonly output: "base64url" },
  ): Promise<string>
  encrypt(
    plaintext: Uint8Array | string,
    options: EncryptOptions & { readonly output?: "bytes" },
  ): Promise<Uint8Array>
  /** Decrypts an envelope in memory. The plaintext is a fresh array. */
  decrypt(envelope: Uint8Array | string, options: DecryptOptions): Promise<Decrypted>
  /**
   * Replaces the wraps by those of today's route, for example after a rotation or a new binding: the DEK and every
   * byte after the header stay. Takes a whole envelope, or only its header (`inspect` tells its length) and then
   * gives only a header. It does not take access back from someone who kept the old header and its KEKs;
   * `reencrypt` does.
   */
  rewrap(envelope: Uint8Array, options: RewrapOptions): Promise<Uint8Array>
  rewrap(envelope: string, options: RewrapOptions): Promise<string>
  /**
   * Encrypts the payload anew under a new DEK and today's route, which also takes access back from someone who kept
   * the old header.
   */
  reencrypt(envelope: Uint8Array, options: DecryptOptions & RewrapOptions): Promise<Uint8Array>
  reencrypt(envelope: string, options: DecryptOptions & RewrapOptions): Promise<string>
  /**
   * Describes an envelope without any key; nothing of it is authentic. Of a large envelope its beginning is enough:
   * give its whole length in bytes as `totalBytes` then.
   */
  inspect(envelope: Uint8Array | string, totalBytes?: number): EnvelopeFacts
  /** A random 32-byte data key for the caller's own use, and a sealed blob that gives it back. */
  generateDataKey(
    options: GenerateDataKeyOptions & { readonly output: "base64url" },
  ): Promise<GeneratedDataKey<string>>
  generateDataKey(
    options: GenerateDataKeyOptions & { readonly output?: "bytes" },
  ): Promise<GeneratedDataKey<Uint8Array>>
  /** Opens a sealed data key. */
  decryptDataKey(sealed: Uint8Array | string, options: OpenOptions): Promise<DataKey>
  /** Seals the same data key anew under another context. */
  rekeyDataKey(sealed: Uint8Array, options: RekeyOptions): Promise<Uint8Array>
  rekeyDataKey(sealed: string, options: RekeyOptions): Promise<string>
  /** Encrypts a stream in segments, with backpressure. An error of the source passes through as it is. */
  encryptStream(
    source: ReadableStream<Uint8Array>,
    options: EncryptStreamOptions,
  ): Promise<ReadableStream<Uint8Array>>
  /**
   * Decrypts a stream. It resolves when the header is authentic; the plaintext then hands out only verified bytes,
   * and fails with `DECRYPTION_FAILED` where the rest was altered, cut or extended: take no part for the whole
   * before it has closed.
   */
  decryptStream(source: ReadableStream<Uint8Array>, options: DecryptOptions): Promise<DecryptedStream>
  /**
   * Decrypts the plaintext bytes `[start, end)`, or from `start` to the end. They are authentic at their offsets;
   * a truncation beyond the range is not seen unless the range touches the end.
   */
  decryptRange(
    source: Uint8Array | Blob | RangeSource,
    start: number,
    end: number | undefined,
    options: DecryptOptions,
  ): Promise<Decrypted>
  /** Encrypts many; each item has its own result, in order, and one bad item fails alone. */
  encryptMany(items: Iterable<EncryptItem>, options?: ManyOptions): Promise<Result<Uint8Array | string>[]>
  /** Decrypts many, likewise. Equal unwraps under way share one KEK call; a failure is not shared. */
  decryptMany(items: Iterable<DecryptItem>, options?: ManyOptions): Promise<Result<Decrypted>[]>
}

/**
 * Makes a keyfold over a router.
 * @throws KeyfoldError `INVALID_ARGUMENT`
 */
export function createKeyfold(options: KeyfoldOptions): Keyfold {
  const { router, deadlineMs = 5000, onEvent } = options ?? ({} as KeyfoldOptions)
  if (typeof router?.forWriting !== "function" || typeof router.forReading !== "function") {
    throw new KeyfoldError("INVALID_ARGUMENT", "give a router, such as that of @keyfold/router")
  }
  if (onEvent !== undefined && typeof onEvent !== "function") {
    throw new KeyfoldError("INVALID_ARGUMENT", "onEvent is a function")
  }
  if (!Number.isInteger(deadlineMs) || deadlineMs < 1 || deadlineMs > 600_000) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "deadlineMs is a whole number of milliseconds from 1 to 600,000",
    )
  }
  const engine: Engine = { router, deadlineMs, onEvent }
  const run = <T, Options extends { readonly signal?: AbortSignal }>(
    name: OperationName,
    options: Options,
    work: (operation: Operation, options: Options) => T | Promise<T>,
  ) => runOperation(engine, name, options, work)

  // The overloads of the interface say more than one signature can: the form that comes out follows what went in.
  const methods = {
    encrypt: (plaintext: Uint8Array | string, options: Parameters<typeof encrypt>[3]) =>
      run("encrypt", options, (operation, options) => encrypt(engine, operation, plaintext, options)),
    decrypt: (envelope: Uint8Array | string, options: DecryptOptions) =>
      run("decrypt", options, (operation, options) => decrypt(engine, operation, envelope, options)),
    rewrap: (envelope: Uint8Array | string, options: RewrapOptions) =>
      run("rewrap", options, (operation, options) => rewrap(engine, operation, envelope, options)),
    reencrypt: (envelope: Uint8Array | string, options: DecryptOptions & RewrapOptions) =>
      run("reencrypt", options, (operation, options) => reencrypt(engine, operation, envelope, options)),
    inspect,
    generateDataKey: (options: GenerateDataKeyOptions) =>
      run("generateDataKey", options, (operation, options) => generateDataKey(engine, operation, options)),
    decryptDataKey: (sealed: Uint8Array | string, options: OpenOptions) =>
      run("decryptDataKey", options, (operation, options) =>
        decryptDataKey(engine, operation, sealed, options),
      ),
    rekeyDataKey: (sealed: Uint8Array | string, options: RekeyOptions) =>
      run("rekeyDataKey", options, (operation, options) => rekeyDataKey(engine, operation, sealed, options)),
    encryptStream: (source: ReadableStream<Uint8Array>, options: EncryptStreamOptions) =>
      run("encryptStream", options, (operation, options) =>
        encryptStream(engine, operation, source, options),
      ),
    decryptStream: (source: ReadableStream<Uint8Array>, options: DecryptOptions) =>
      run("decryptStream", options, (operation, options) =>
        decryptStream(engine, operation, source, options),
      ),
    decryptRange: (
      source: Uint8Array | Blob | RangeSource,
      start: number,
      end: number | undefined,
      options: DecryptOptions,
    ) =>
      run("decryptRange", options, (operation, options) =>
        decryptRange(engine, operation, source, start, end, options),
      ),
    encryptMany: (items: Iterable<EncryptItem>, options: ManyOptions = {}) =>
      encryptMany(engine, items, options),
    decryptMany: (items: Iterable<DecryptItem>, options: ManyOptions = {}) =>
      decryptMany(engine, items, options),
  }
  return Object.freeze(methods) as Keyfold
}
