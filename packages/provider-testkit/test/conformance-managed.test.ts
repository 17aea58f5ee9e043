import { KeyfoldError, parseContext } from "@keyfold/core"
import { createManagedProvider, type KekStore, memoryStore } from "@keyfold/kek-managed"
import { afterAll, beforeAll, describe, test, vi } from "vitest"
import { type KekFault, type KekHarness, runKekConformance } from "../src/index.ts"

const NO_NETWORK = "there is no KMS behind it, and its store answers at once"
const NO_PERMISSIONS = "it runs in its caller's own process, and asks nobody for permission"
const NO_REPLY = "no answer comes from outside that could be another key's"

/** Longer than a deletion can be taken back. */
const RECOVERY_MS = 366 * 86_400_000

runKekConformance(
  {
    name: "managed",
    setup,
    medium: "store",
    notApplicable: {
      "a denied wrap names the action and who can mend it": NO_PERMISSIONS,
      "a denied unwrap names the action and who can mend it": NO_PERMISSIONS,
      throttled: NO_NETWORK,
      "internal error": NO_NETWORK,
      "hung: the deadline ends the call and its connection": NO_NETWORK,
      "abort ends the call and its connection": NO_NETWORK,
      "a KEK called with a fired signal calls nobody": NO_NETWORK,
      "a wrap made by another key is thrown away": NO_REPLY,
      "an unwrap made by another key is thrown away": NO_REPLY,
    },
    notApplicableCount: 9,
  },
  { describe, test, beforeAll, afterAll },
)

async function setup(): Promise<KekHarness> {
  const { store, fault } = faultyStore(memoryStore())
  const provider = await createManagedProvider({
    store,
    root: { key: new Uint8Array(32).fill(1) },
    environment: "conformance",
    stateTtlMs: 0, // so that a fault of the store shows in the very next call
  })
  const { pairs } = parseContext({ a: "1", b: "2" })
  const [kek, otherKek] = await Promise.all(pairs.map((pair) => provider.kekFor(pair)))
  if (kek === undefined || otherKek === undefined) throw new Error("two pairs have two KEKs")
  const { keyId } = kek
  return {
    kek,
    otherKek,
    states: {
      disable: async () => void (await provider.disable(keyId)),
      enable: async () => void (await provider.enable(keyId)),
      scheduleDeletion: async () => void (await provider.scheduleDeletion(keyId)),
      cancelDeletion: async () => {
        await provider.cancelDeletion(keyId)
        await provider.enable(keyId)
      },
      async delete() {
        await provider.scheduleDeletion(keyId)
        vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + RECOVERY_MS })
        await provider.destroyDue()
        vi.useRealTimers()
      },
      deny: async () => {},
      allow: async () => {},
    },
    fault,
    openConnections: () => 0,
    close: () => provider.close(),
  }
}

/** A store that fails, or gives damaged rows, on demand. */
function faultyStore(store: KekStore): { store: KekStore; fault: KekHarness["fault"] } {
  let fault: KekFault | undefined
  let revision = 0
  const faulty: KekStore = {
    ...bound(store),
    async revision() {
      if (fault === "unreachable") throw new KeyfoldError("STORE_FAILED", "the disk is gone")
      return (await store.revision()) + revision
    },
    async get(keyId: string) {
      const row = await store.get(keyId)
      if (row === undefined || (fault !== "truncated" && fault !== "garbage")) return row
      const sealed =
        fault === "truncated"
          ? row.sealed.subarray(0, row.sealed.length >> 1)
          : row.sealed.map((byte) => byte ^ 0x55)
      return { ...row, sealed }
    },
  }
  return {
    store: faulty,
    fault(kind) {
      fault = kind
      revision++ // as a change by another process would: rows are read again
      return () => {
        fault = undefined
        revision++
      }
    },
  }
}

function bound(store: KekStore): KekStore {
  return {
    meta: () => store.meta(),
    putMeta: (meta) => store.putMeta(meta),
    revision: () => store.revision(),
    get: (keyId) => store.get(keyId),
    find: (index) => store.find(index),
    insert: (row) => store.insert(row),
    replace: (row) => store.replace(row),
    list: (after, limit) => store.list(after, limit),
    due: (now) => store.due(now),
    addUsage: (usage) => store.addUsage(usage),
    scrub: () => store.scrub(),
    close: () => store.close(),
  }
}
