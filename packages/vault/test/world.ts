/** A vault over a store, with managed KEKs in memory. */
import { createKeyfold, type Keyfold } from "@keyfold/core"
import { createManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { createRouter } from "@keyfold/router"
import { createVault, type Vault, type VaultOptions, type VaultStore } from "../src/index.ts"

export const actor = { id: "a", name: "A" }
export const context = { user: "u" }

export type World = {
  readonly store: VaultStore
  readonly managed: Awaited<ReturnType<typeof createManagedProvider>>
  readonly keyfold: Keyfold
  readonly vault: Vault
  /** Another view on the same objects. */
  readonly view: (options: Partial<VaultOptions>) => Vault
  readonly close: () => Promise<void>
}

export async function startWorld(store: VaultStore): Promise<World> {
  const root = { key: new Uint8Array(32).fill(1) }
  const managed = await createManagedProvider({ store: memoryStore(), root, environment: "test" })
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  const view = (options: Partial<VaultOptions>) => createVault({ keyfold, store, actor, ...options })
  const close = async () => {
    await store.close()
    await managed.close()
  }
  return { store, managed, keyfold, vault: view({}), view, close }
}
