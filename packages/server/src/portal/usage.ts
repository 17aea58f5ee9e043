import { type KeyfoldEvent, MANAGED_PROVIDER_ID } from "@keyfold/core"
import type { KeyUsage, KeyUse } from "./clouds.ts"

/** Counts the calls of customers' keys in this process. Give `onKeyfoldEvent` to `createKeyfold`. */
export function countKeyUsage(): KeyUsage & { readonly onKeyfoldEvent: (event: KeyfoldEvent) => void } {
  const used = new Map<string, KeyUse>()
  return {
    since: new Date(),
    of: (provider, keyId) => used.get(`${provider} ${keyId}`) ?? UNUSED,
    onKeyfoldEvent(event) {
      if (event.type !== "kek" || event.providerId === MANAGED_PROVIDER_ID) return
      const key = `${event.providerId} ${event.keyId}`
      const before = used.get(key) ?? UNUSED
      if (event.code !== undefined) {
        used.set(key, { ...before, refused: before.refused + 1 })
        return
      }
      const { wraps, unwraps } = before
      const counted = event.action === "wrap" ? { wraps: wraps + 1 } : { unwraps: unwraps + 1 }
      used.set(key, { ...before, ...counted, lastUsedAt: new Date() })
    },
  }
}

const UNUSED: KeyUse = { wraps: 0, unwraps: 0, refused: 0, lastUsedAt: undefined }
