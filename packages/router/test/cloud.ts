/** A customer's cloud for the router's tests: its keys really bind what they wrap, and can be switched off. */

import { type Kek, type KekFacts, type KekProvider, KeyfoldError, type WrapContext } from "@keyfold/core"
import { fillRandom, open, sealInto } from "@keyfold/core/crypto"

export type Cloud = KekProvider & {
  calls: number
  readonly denied: Set<string>
  /** What `describe` tells beside `publicKey`. */
  facts: Partial<KekFacts>
  /** What happens to a call before the key is asked: it may throw, or wait. */
  trouble: (call: "wrap" | "unwrap", signal: AbortSignal | undefined) => void | Promise<void>
}

export function cloud(id: string, options: { publicKey?: boolean } = {}): Cloud {
  const keys = new Map<string, Uint8Array>()
  const keyOf = (keyId: string) => {
    if (cloud.denied.has(keyId)) throw new KeyfoldError("KEY_DISABLED", "the customer disabled it")
    const key = keys.get(keyId) ?? new Uint8Array(32)
    if (!keys.has(keyId)) fillRandom(key)
    keys.set(keyId, key)
    return key
  }
  const cloud: Cloud = {
    id,
    calls: 0,
    denied: new Set(),
    facts: {},
    trouble: () => {},
    kek: (keyId): Kek => ({
      providerId: id,
      keyId,
      wrap: async (secret, { binding }: WrapContext, { signal }) => {
        cloud.calls++
        await cloud.trouble("wrap", signal)
        const wrapped = new Uint8Array(60)
        fillRandom(wrapped.subarray(0, 12))
        sealInto(keyOf(keyId), wrapped.subarray(0, 12), binding, secret, wrapped, 12)
        return { keyVersion: 0, leased: false, wrapped }
      },
      unwrap: async ({ wrapped }, { binding }, { signal }) => {
        cloud.calls++
        await cloud.trouble("unwrap", signal)
        const secret = open(keyOf(keyId), wrapped.subarray(0, 12), binding, wrapped.subarray(12))
        if (secret === undefined) throw new KeyfoldError("DECRYPTION_FAILED", "wrong wrap")
        return secret
      },
      describe: async () => ({ publicKey: options.publicKey ?? false, ...cloud.facts }) as never,
      classify: () => "UNKNOWN",
    }),
  }
  return cloud
}
