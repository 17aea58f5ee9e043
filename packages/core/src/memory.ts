import { type Kek, MANAGED_PROVIDER_ID } from "./kek.ts"

/**
 * Small arrays cut from a larger one. An array of its own has its own memory, which costs more than what is written into
 * it, once now and once when it is collected (docs/performance.md).
 */
export class Slab {
  #bytes = new Uint8Array(0)
  #next = 0

  /** A zeroed array of `length` bytes, at most 1 KiB. */
  take(length: number): Uint8Array {
    // A slab that was transferred elsewhere has the length 0.
    if (this.#next + length > this.#bytes.length) {
      this.#bytes = new Uint8Array(SLAB_BYTES)
      this.#next = 0
    }
    const start = this.#next
    this.#next += length
    return new Uint8Array(this.#bytes.buffer, start, length)
  }
}

/**
 * Memory for what a KEK is lent, its binding and its share. Managed KEKs that run the same code share slabs. Any other
 * KEK, also one that only claims to be managed, gets memory of its own: whatever it does to the buffer behind what it is
 * lent reaches nothing that other code was lent.
 */
export function lend({ providerId, wrap, unwrap }: Kek, length: number): Uint8Array {
  if (providerId !== MANAGED_PROVIDER_ID) return new Uint8Array(length)
  let lent = slabs.get(wrap)
  if (lent === undefined) {
    lent = { unwrap, slab: new Slab() }
    slabs.set(wrap, lent)
  }
  return lent.unwrap === unwrap ? lent.slab.take(length) : new Uint8Array(length)
}

/** Copies `length` bytes, a few dozen: quicker then than `set` of a `subarray`. */
export function copyBytes(
  from: Uint8Array,
  start: number,
  length: number,
  to: Uint8Array,
  offset: number,
): void {
  for (let i = 0; i < length; i++) to[offset + i] = from[start + i] as number
}

const SLAB_BYTES = 8192
const slabs = new WeakMap<Kek["wrap"], { readonly unwrap: Kek["unwrap"]; readonly slab: Slab }>()
