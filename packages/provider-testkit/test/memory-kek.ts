import { type Kek, type KekFacts, KeyfoldError, type WrapContext, type WrapRecord } from "@keyfold/core"
import { fillRandom, open, sealInto } from "@keyfold/core/crypto"
import type { Direction, KekFault, KekHarness } from "../src/index.ts"

export type MemoryKekOptions = {
  /** What to break, to see whether the suite notices. */
  readonly wrap?: (kek: Kek) => Kek["wrap"]
  readonly unwrap?: (kek: Kek) => Kek["unwrap"]
  readonly ignoreBinding?: boolean
}

/** A correct provider in memory, with all the switches of a cloud. */
export function memoryHarness(breakage: MemoryKekOptions = {}): KekHarness {
  let state: KekFacts["state"] = "enabled"
  const denied = new Set<Direction>()
  let fault: KekFault | undefined
  let open = 0

  async function serve<T>(
    direction: Direction,
    signal: AbortSignal | undefined,
    answer: () => T,
  ): Promise<T> {
    signal?.throwIfAborted()
    open++
    try {
      await Promise.resolve()
      if (fault === "hang")
        await new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)))
      if (fault !== undefined) throw new KeyfoldError(OF_FAULT[fault] ?? "UNAVAILABLE", "broken")
      if (state === "disabled") throw new KeyfoldError("KEY_DISABLED", "off")
      if (state === "pending-deletion") throw new KeyfoldError("KEY_PENDING_DELETION", "going")
      if (state === "destroyed") throw new KeyfoldError("KEY_NOT_FOUND", "gone")
      if (denied.has(direction)) {
        throw new KeyfoldError("PERMISSION_DENIED", "no", {
          action: direction,
          side: "key-policy",
          fix: "allow it",
        })
      }
      return answer()
    } finally {
      open--
    }
  }

  const make = (keyId: string): Kek => {
    const base = sealingKek(keyId, breakage.ignoreBinding ?? false)
    const kek: Kek = {
      ...base,
      wrap: (secret, context, { signal }) => {
        const kept = secret.slice()
        return serve("wrap", signal, () => base.wrap(kept, context, {}) as WrapRecord)
      },
      unwrap: (record, context, { signal }) =>
        serve("unwrap", signal, () => base.unwrap(record, context, {}) as Uint8Array),
      describe: async ({ signal }) => {
        signal?.throwIfAborted()
        return { ...FACTS, state }
      },
    }
    return {
      ...kek,
      ...(breakage.wrap && { wrap: breakage.wrap(kek) }),
      ...(breakage.unwrap && { unwrap: breakage.unwrap(kek) }),
    }
  }
  const become = (next: KekFacts["state"]) => async () => {
    state = next
  }
  return {
    kek: make("a"),
    otherKek: make("b"),
    states: {
      disable: become("disabled"),
      enable: become("enabled"),
      scheduleDeletion: become("pending-deletion"),
      cancelDeletion: become("enabled"),
      delete: become("destroyed"),
      deny: async (direction) => void denied.add(direction),
      allow: async (direction) => void denied.delete(direction),
    },
    fault(kind) {
      fault = kind
      return () => {
        fault = undefined
      }
    },
    openConnections: () => open,
    close: async () => {},
  }
}

function sealingKek(keyId: string, ignoreBinding: boolean): Kek {
  const key = new Uint8Array(32)
  fillRandom(key)
  const aad = (context: WrapContext) => (ignoreBinding ? new Uint8Array(0) : context.binding)
  return {
    providerId: "memory",
    keyId,
    wrap(secret, context) {
      const wrapped = new Uint8Array(60)
      fillRandom(wrapped.subarray(0, 12))
      sealInto(key, wrapped.subarray(0, 12), aad(context), secret, wrapped, 12)
      return { keyVersion: 0, leased: false, wrapped }
    },
    unwrap({ wrapped, leased }, context) {
      const secret =
        leased || wrapped.length < 12
          ? undefined
          : open(key, wrapped.subarray(0, 12), aad(context), wrapped.subarray(12))
      if (secret === undefined) throw new KeyfoldError("DECRYPTION_FAILED", "wrong wrap")
      return secret
    },
    describe: async () => FACTS,
    classify: () => "UNKNOWN",
  }
}

const OF_FAULT: Partial<Record<KekFault, "THROTTLED" | "UNKNOWN">> = {
  throttle: "THROTTLED",
  "other-key": "UNKNOWN",
}

const FACTS: KekFacts = {
  state: "enabled",
  algorithm: "AES-256-GCM",
  origin: "memory",
  protectionLevel: "software",
  publicKey: false,
  canWrap: true,
  purgeProtected: undefined,
  keyVersion: 0,
  automaticRotation: false,
  expiresAt: undefined,
  deletionAt: undefined,
  region: undefined,
}
