/** Random choices that a seed repeats. */
import nodeCrypto from "node:crypto"
import { syncBuiltinESMExports } from "node:module"
import { reseed } from "@keyfold/core/crypto"

/** A generator of 32-bit numbers (sfc32 by Chris Doty-Humphrey), seeded with a run's seed and a case's number. */
export class Chance {
  #a: number
  #b: number
  #c: number
  #counter = 1

  constructor(seed: number, index: number) {
    this.#a = seed | 0
    this.#b = index | 0
    this.#c = Math.floor(index / 2 ** 32) ^ 0x6b66
    for (let i = 0; i < 15; i++) this.next()
  }

  /** A whole number below 2^32. */
  next(): number {
    const sum = (this.#a + this.#b + this.#counter++) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** A whole number from 0 to below `bound`. */
  below(bound: number): number {
    return this.next() % bound
  }

  /** True once in `n`. */
  oneIn(n: number): boolean {
    return this.below(n) === 0
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let i = 0; i < length; i++) bytes[i] = this.next()
    return bytes
  }
}

/**
 * From now on the random bytes of this process come from a seed, so that keys and salts repeat too. For the fuzzer's own
 * process and nothing else.
 */
export function seedSystemRandom(seed: number, index: number): void {
  source = new Chance(seed ^ 0x73616c74, index)
  reseed()
  if (patched) return
  patched = true
  nodeCrypto.randomFillSync = ((target: Uint8Array) => {
    for (let i = 0; i < target.length; i++) target[i] = source.next()
    return target
  }) as typeof nodeCrypto.randomFillSync
  syncBuiltinESMExports()
}

let source = new Chance(0, 0)
let patched = false
