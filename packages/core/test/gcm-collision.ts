/** Makes what AES-GCM allows: one ciphertext and tag that open under two keys (the "invisible salamander"). */
import { createCipheriv } from "node:crypto"

/**
 * Ciphertext of one block and its tag, valid under both keys with this IV and AAD. GHASH is linear in the block
 * (SP 800-38D §6.4), so that one division in GF(2^128) finds it.
 */
export function twoKeyCiphertext(
  keys: readonly [Uint8Array, Uint8Array],
  iv: Uint8Array,
  aad: Uint8Array,
): Uint8Array {
  const [one, two] = keys.map((key) => {
    const h = toField(block(key, new Uint8Array(16)))
    const mask = toField(block(key, Buffer.concat([iv, Buffer.of(0, 0, 0, 1)])))
    return { h, fixed: mask ^ ghash(h, aad, 0n) }
  }) as [Half, Half]
  const ciphertext = times(one.fixed ^ two.fixed, inverse(times(one.h, one.h) ^ times(two.h, two.h)))
  const tag = one.fixed ^ times(ciphertext, times(one.h, one.h))
  return Buffer.concat([fromField(ciphertext), fromField(tag)])
}

/** What one key brings: its hash key, and the tag of a block of zeros. */
type Half = { readonly h: bigint; readonly fixed: bigint }

/** GHASH over the AAD, one block of ciphertext and the lengths. */
function ghash(h: bigint, aad: Uint8Array, ciphertext: bigint): bigint {
  let sum = 0n
  const absorb = (value: bigint) => {
    sum = times(sum ^ value, h)
  }
  for (let at = 0; at < aad.length; at += 16) {
    const padded = new Uint8Array(16)
    padded.set(aad.subarray(at, at + 16))
    absorb(toField(padded))
  }
  absorb(ciphertext)
  absorb((BigInt(aad.length * 8) << 64n) | 128n)
  return sum
}

function block(key: Uint8Array, input: Uint8Array): Uint8Array {
  return createCipheriv("aes-256-ecb", key, null).update(input)
}

/** SP 800-38D §6.3. */
function times(x: bigint, y: bigint): bigint {
  let product = 0n
  let v = y
  for (let bit = 127n; bit >= 0n; bit--) {
    if ((x >> bit) & 1n) product ^= v
    v = v & 1n ? (v >> 1n) ^ REDUCTION : v >> 1n
  }
  return product
}

/** x^(2^128 - 2). */
function inverse(x: bigint): bigint {
  let result = ONE
  let square = x
  for (let i = 1; i < 128; i++) {
    square = times(square, square)
    result = times(result, square)
  }
  return result
}

function toField(bytes: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(bytes).toString("hex")}`)
}

function fromField(value: bigint): Uint8Array {
  return Buffer.from(value.toString(16).padStart(32, "0"), "hex")
}

const REDUCTION = 0xe1n << 120n
const ONE = 1n << 127n
