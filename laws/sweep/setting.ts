/** A vault and its KEKs in a folder, one tenant in ten bound to a key in a KMS: what parent and workers both open. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { createKeyfold, type Keyfold } from "@keyfold/core"
import { awsKms, awsKmsClients } from "@keyfold/kek-aws-kms"
import { createManagedProvider, type ManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { type Binding, createRouter } from "@keyfold/router"
import type { VaultStore } from "@keyfold/vault"
import { sqliteVaultStore } from "@keyfold/vault/sqlite"

export type Setting = {
  readonly keyfold: Keyfold
  readonly store: VaultStore
  readonly managed: ManagedProvider
  readonly provider: ReturnType<typeof awsKms>
  readonly close: () => Promise<void>
}

export type Credentials = { readonly accessKeyId: string; readonly secretAccessKey: string }

export const CONTEXTS = 100
export const contextOf = (i: number) => ({ organization_id: `org_${i % CONTEXTS}`, data_type: "note" })
export const bindingsFile = (folder: string) => join(folder, "bindings.json")

export async function openSetting(folder: string, credentials: Credentials): Promise<Setting> {
  const root = { key: new Uint8Array(32).fill(1) } // a law's key
  const kekStore = sqliteStore(join(folder, "keks.db"))
  const managed = await createManagedProvider({ store: kekStore, root, environment: "sweep" })
  const clients = awsKmsClients({ credentials })
  const provider = awsKms({ clients })
  const bindings = () =>
    existsSync(bindingsFile(folder))
      ? (JSON.parse(readFileSync(bindingsFile(folder), "utf8")) as Binding[])
      : []
  const router = createRouter({ managed, providers: [provider], bindings })
  const store = sqliteVaultStore(join(folder, "vault.db"))
  return {
    keyfold: createKeyfold({ router, deadlineMs: 20_000 }),
    store,
    managed,
    provider,
    async close() {
      await store.close()
      clients.close()
      await managed.close()
    },
  }
}
