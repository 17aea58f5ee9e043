/**
 * A zeroed array of `length` bytes cut from a larger allocation: above 64 bytes an array of its own costs about a
 * microsecond, a view a twentieth of that. For public bytes only, because views share their memory; never reused.
 */
export function cut(length: number): Uint8Array {
  if (next + length > SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES)
    next = 0
  }
  const view = new Uint8Array(slab, next, length)
  next += length
  return view
}

const SLAB_BYTES = 8192
let slab = new ArrayBuffer(SLAB_BYTES)
let next = 0
