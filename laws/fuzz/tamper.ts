/** Every bit of many envelopes flipped, every byte left out and doubled, every other version, suite and kind. */
import { KeyfoldError } from "@keyfold/core"
import { openSample, type Sample } from "./samples.ts"
import type { Vault } from "./vault.ts"

export type TamperResult = {
  /** Changed envelopes that were tried. */
  tried: number
  /** What opened, by name and change. */
  readonly accepted: string[]
  /** What threw anything but a KeyfoldError. */
  readonly untyped: string[]
}

/**
 * Tries every change, or every `step`th, beginning at another one in each envelope.
 * @param onProgress is told the number of envelopes done
 */
export async function tamper(
  vault: Vault,
  samples: readonly Sample[],
  step = 1,
  onProgress: (done: number) => void = () => {},
): Promise<TamperResult> {
  const result: TamperResult = { tried: 0, accepted: [], untyped: [] }
  for (const [i, sample] of samples.entries()) {
    const changes = changesOf(sample.bytes)
    for (let at = i % step; at < changes.count; at += step) {
      const { what, bytes } = changes.at(at)
      vault.beginCase()
      result.tried++
      try {
        await openSample(vault, sample, bytes)
        result.accepted.push(`${sample.name}: ${what}`)
      } catch (error) {
        if (!(error instanceof KeyfoldError)) result.untyped.push(`${sample.name}: ${what}: ${error}`)
      }
    }
    onProgress(i + 1)
  }
  return result
}

type Change = { readonly what: string; readonly bytes: Uint8Array }

/** All changes of one envelope, made when they are asked for. */
function changesOf(bytes: Uint8Array): { readonly count: number; readonly at: (i: number) => Change } {
  const bits = bytes.length * 8
  const others = VALUE_OFFSETS.length * 255
  const at = (i: number): Change => {
    if (i < bits) {
      const changed = Uint8Array.from(bytes)
      changed[i >> 3] = (changed[i >> 3] as number) ^ (1 << (i & 7))
      return { what: `bit ${i} flipped`, bytes: changed }
    }
    if (i < bits + others) {
      const offset = VALUE_OFFSETS[(i - bits) % VALUE_OFFSETS.length] as number
      const changed = Uint8Array.from(bytes)
      const value = (bytes[offset] as number) + 1 + Math.floor((i - bits) / VALUE_OFFSETS.length)
      changed[offset] = value
      return { what: `byte ${offset} set to ${value & 255}`, bytes: changed }
    }
    const position = (i - bits - others) >> 1
    const kept = (i - bits - others) & 1
    const parts = [bytes.subarray(0, position + kept), bytes.subarray(position + 1 - kept)]
    const what = `byte ${position} ${kept === 1 ? "doubled" : "left out"}`
    return { what, bytes: Uint8Array.from(Buffer.concat(parts)) }
  }
  return { count: bits + others + bytes.length * 2, at }
}

/** Version, suite and kind (docs/format.md, "Layout"). */
const VALUE_OFFSETS = [4, 5, 6]
