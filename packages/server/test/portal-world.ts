/** A server with a portal over one cloud's emulator, and what an administrator and an operator do with it. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { CmkOptions } from "@keyfold/byok"
import { createKeyfold, type Keyfold } from "@keyfold/core"
import { createManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { type Binding, createRouter } from "@keyfold/router"
import type { VaultStore } from "@keyfold/vault"
import { sqliteVaultStore } from "@keyfold/vault/sqlite"
import { awsLab, azureLab, gcpLab } from "../../byok/test/clouds.ts"
import {
  countKeyUsage,
  createApiKey,
  createApp,
  createPortalLink,
  listen,
  type PortalLinkOptions,
  type PortalOptions,
  type ProviderId,
  type ServerOptions,
} from "../src/index.ts"

export const MATCH = { organization_id: "org_1" }
export const PRINCIPALS: Readonly<Record<ProviderId, string>> = {
  "aws-kms": "arn:aws:iam::111122223333:user/keyfold",
  "azure-keyvault": "11111111-2222-3333-4444-555555555555",
  "gcp-kms": "serviceAccount:keyfold@p.iam.gserviceaccount.com",
}

export type PortalWorld = {
  readonly url: string
  /** Those of its app. */
  readonly options: ServerOptions & { readonly portal: PortalOptions }
  readonly apiKey: string
  readonly keyfold: Keyfold
  readonly store: VaultStore
  /** Where the store's files are. */
  readonly folder: string
  readonly bindings: readonly Binding[]
  readonly errors: readonly unknown[]
  /** Routes of the requests that were answered. */
  readonly routes: readonly string[]
  readonly aws: Awaited<ReturnType<typeof awsLab>>["emulator"]
  readonly azure: Awaited<ReturnType<typeof azureLab>>["emulator"]
  readonly gcp: Awaited<ReturnType<typeof gcpLab>>["emulator"]
  /** A link, of `MATCH` unless told. */
  readonly link: (options?: Partial<PortalLinkOptions>) => Promise<string>
  readonly close: () => Promise<void>
}

export async function startPortalWorld(): Promise<PortalWorld> {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-portal-"))
  const [aws, azure, gcp] = await Promise.all([awsLab(), azureLab(), gcpLab()])
  const managed = await createManagedProvider({
    ...{ store: memoryStore(), root: { key: new Uint8Array(32).fill(1) }, environment: "test" },
  })
  const bindings: Binding[] = []
  const save = (binding: Binding) => {
    const at = bindings.findIndex(({ id }) => id === binding.id)
    bindings.splice(at === -1 ? bindings.length : at, at === -1 ? 0 : 1, binding)
  }
  const usage = countKeyUsage()
  const labs = { "aws-kms": aws, "azure-keyvault": azure, "gcp-kms": gcp }
  const providers = Object.values(labs).map(({ provider: { id, kek } }) => ({
    id,
    kek: (keyId: string, options: unknown = {}) => kek(keyId, options as CmkOptions),
  }))
  const keyfold = createKeyfold({
    router: createRouter({ managed, providers, bindings: () => bindings, bindingTtlMs: 0 }),
    onEvent: usage.onKeyfoldEvent,
  })
  const store = sqliteVaultStore(join(folder, "vault.db"))
  const { text: apiKey, key } = createApiKey("test")
  const errors: unknown[] = []
  const routes: string[] = []
  const offered = (id: ProviderId) => ({
    provider: async () => labs[id].provider,
    principal: PRINCIPALS[id],
  })
  const options = {
    ...{ keyfold, store, apiKeys: [key], environmentId: "environment_test" },
    portal: {
      clouds: {
        "aws-kms": offered("aws-kms"),
        "azure-keyvault": offered("azure-keyvault"),
        "gcp-kms": offered("gcp-kms"),
      },
      bindings: {
        read: async () => [...bindings],
        change: (work) => work([...bindings], { managed, save }),
      },
      ...{ environment: "test", usage, kekCounts: async () => ({ enabled: 12_345 }) },
    },
    onError: (error: unknown) => errors.push(error),
    onRequest: ({ route }: { route: string }) => routes.push(route),
  } satisfies ServerOptions
  const app = createApp(options)
  const { url, close } = await listen(app, { port: 0 })
  return {
    ...{ url, options, apiKey, keyfold, store, folder, bindings, errors, routes },
    ...{ aws: aws.emulator, azure: azure.emulator, gcp: gcp.emulator },
    async link(options = {}) {
      const { path } = await createPortalLink(store, { match: MATCH, ...options }, bindings)
      return url + path
    },
    async close() {
      await close()
      await store.close()
      await managed.close()
      await Promise.all([aws, azure, gcp].map(({ close }) => close()))
      rmSync(folder, { recursive: true })
    },
  }
}
