import { KeyfoldError } from "./errors.ts"
import { isDetached } from "./payload.ts"

/** Reads a stream of chunks of any size in pieces of the size asked for, without copying where a chunk fits. */
export class ByteReader {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  #chunk: Uint8Array = EMPTY
  #ended = false

  constructor(source: ReadableStream<Uint8Array>) {
    this.#reader = source.getReader()
  }

  /** The next `length` bytes; fewer only at the end. */
  async read(length: number): Promise<Uint8Array> {
    if (this.#chunk.length === 0) await this.#fill()
    if (this.#chunk.length >= length || this.#ended) return this.#take(length)
    const piece = new Uint8Array(length)
    let at = 0
    while (at < length && !(await this.atEnd())) {
      const part = this.#take(length - at)
      piece.set(part, at)
      at += part.length
    }
    return piece.subarray(0, at)
  }

  /** Whether nothing follows. */
  async atEnd(): Promise<boolean> {
    if (this.#chunk.length === 0) await this.#fill()
    return this.#chunk.length === 0
  }

  /** Gives the source up. */
  async cancel(reason: unknown): Promise<void> {
    await this.#reader.cancel(reason)
  }

  async #fill(): Promise<void> {
    for (let empty = 0; this.#chunk.length === 0 && !this.#ended; empty++) {
      if (isDetached(this.#chunk)) throw transferred() // it only looks empty: the rest of it would be left out
      // A source of empty chunks without end must not keep timers, and so the caller's abort, from running.
      if (empty % 64 === 63) await new Promise((resolve) => setTimeout(resolve))
      const { done, value } = await this.#reader.read()
      if (done) {
        this.#ended = true
      } else if (value instanceof Uint8Array) {
        this.#chunk = value
      } else {
        throw new KeyfoldError("INVALID_ARGUMENT", "a source stream must give Uint8Array chunks")
      }
    }
  }

  #take(length: number): Uint8Array {
    const piece = this.#chunk.subarray(0, length)
    this.#chunk = this.#chunk.subarray(piece.length)
    return piece
  }
}

function transferred(): KeyfoldError {
  return new KeyfoldError(
    "INVALID_ARGUMENT",
    "a chunk of the source stream was transferred elsewhere: leave it alone once it is given",
  )
}

const EMPTY = new Uint8Array(0)
