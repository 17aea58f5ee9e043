import type { KekMeta, KekRow, KekStore, KekUsage } from "./kek-store.ts"

/** A store in memory, for tests and examples: gone with the process. */
export function memoryStore(): KekStore {
  const rows = new Map<string, KekRow>()
  const current = new Map<string, string>()
  const usages = new Map<string, KekUsage>()
  let storedMeta: KekMeta | undefined
  let revision = 0
  return {
    meta: () => storedMeta,
    putMeta(meta) {
      if ((storedMeta?.change ?? 0) !== meta.change - 1) return false
      storedMeta = meta
      revision++
      return true
    },
    revision: () => revision,
    get: (keyId) => rows.get(keyId),
    find: (index) => rows.get(current.get(index) ?? ""),
    insert(row) {
      if (rows.has(row.keyId) || (row.current && current.has(row.index))) return false
      rows.set(row.keyId, row)
      if (row.current) current.set(row.index, row.keyId)
      return true
    },
    replace(row) {
      const stored = rows.get(row.keyId)
      if (stored === undefined || stored.change !== row.change - 1) return false
      if (stored.current && !row.current) current.delete(row.index)
      rows.set(row.keyId, row)
      revision++
      return true
    },
    list: (after, limit) =>
      [...rows.values()]
        .filter(({ keyId }) => keyId > after)
        .sort((a, b) => (a.keyId < b.keyId ? -1 : 1))
        .slice(0, limit)
        .map((row) => ({ ...row, ...(usages.get(row.keyId) ?? UNUSED) })),
    due: (now) =>
      [...rows.values()]
        .filter(({ state, deletionAt }) => state === "pending-deletion" && deletionAt <= now)
        .map(({ keyId }) => keyId),
    addUsage(usage) {
      for (const [keyId, { wraps, unwraps, lastUsedAt }] of usage) {
        const before = usages.get(keyId) ?? UNUSED
        usages.set(keyId, {
          wraps: before.wraps + wraps,
          unwraps: before.unwraps + unwraps,
          lastUsedAt: Math.max(before.lastUsedAt, lastUsedAt),
        })
      }
    },
    scrub: () => true,
    close() {},
  }
}

const UNUSED: KekUsage = { wraps: 0, unwraps: 0, lastUsedAt: 0 }
