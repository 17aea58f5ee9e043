/** What compares secrets: both backends' comparison, the MAC of a header, and the tag of AES-GCM. */
import * as node from "../../packages/core/src/crypto-node.ts"
import * as portable from "../../packages/core/src/crypto-portable.ts"
import { macHolds, writeMac } from "../../packages/core/src/key-schedule.ts"
import type { Subject } from "./welch.ts"

/** Two arrays that differ in one byte, its place told by `prepare`. */
function pair(length: number, tail = length) {
  const right = crypto.getRandomValues(new Uint8Array(length))
  const changed = Uint8Array.from(right)
  const prepare = (late: boolean) => {
    changed.set(right)
    const at = late ? length - 1 : length - tail
    changed[at] = (changed[at] as number) ^ 0x55
  }
  return { right, changed, prepare }
}

export function subjects(): Subject[] {
  const [forNode, forPortable] = [pair(32), pair(32)]
  const key = crypto.getRandomValues(new Uint8Array(32))
  const header = pair(192, 32)
  writeMac(node.importKey(key) as never, header.right)
  const opened =
    ({ open }: Pick<typeof portable, "open">) =>
    () =>
      open(key, iv, aad, sealed.changed)
  const iv = new Uint8Array(12)
  const aad = new Uint8Array(89)
  const sealed = pair(48, 16)
  node.sealInto(key, iv, aad, new Uint8Array(32), sealed.right, 0)
  return [
    {
      name: "comparison, node:crypto",
      prepare: forNode.prepare,
      call: () => node.equalBytes(forNode.right, forNode.changed),
    },
    {
      name: "comparison, portable",
      prepare: forPortable.prepare,
      call: () => portable.equalBytes(forPortable.right, forPortable.changed),
    },
    {
      name: "MAC of a header",
      prepare: header.prepare,
      call: () => macHolds(node.importKey(key) as never, header.changed),
    },
    { name: "AES-GCM tag, node:crypto", prepare: sealed.prepare, call: opened(node) },
    { name: "AES-GCM tag, portable", prepare: sealed.prepare, call: opened(portable) },
  ]
}

/** A comparison that stops at the first difference, which must be noticed. */
export function leakySubject(): Subject {
  const { right, changed, prepare } = pair(32)
  return {
    name: "a comparison that stops early",
    prepare,
    call: () => right.every((byte, i) => byte === changed[i]),
  }
}
