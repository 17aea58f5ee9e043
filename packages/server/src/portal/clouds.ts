import type { CmkOptions, CmkProvider } from "@keyfold/byok"
import type { Binding, ChangeOptions } from "@keyfold/router"

/** Those in which a tenant can have its key. */
export const PROVIDERS = ["aws-kms", "azure-keyvault", "gcp-kms"] as const
export type ProviderId = (typeof PROVIDERS)[number]

/** A cloud that the portal offers. */
export type PortalCloud = {
  /** Loads its SDK, if need be. */
  readonly provider: () => Promise<CmkProvider>
  /** Who this server is there: what tenants allow to use their keys. See `PolicyRequest` of @keyfold/byok. */
  readonly principal: string
  /** Of every key there; a tenant can change none of them. */
  readonly options?: CmkOptions
}

/** Where the bindings are kept that the server's router goes by. */
export type PortalBindings = {
  /** Every one, removed ones too. */
  readonly read: () => Promise<readonly Binding[]>
  /** Makes one change at a time, also of several processes, and resolves when it is durable. */
  readonly change: (
    work: (existing: readonly Binding[], change: ChangeOptions) => Promise<Binding>,
  ) => Promise<Binding>
}

/** What the portal needs beside the server's own store. */
export type PortalOptions = {
  readonly clouds: Readonly<Partial<Record<ProviderId, PortalCloud>>>
  readonly bindings: PortalBindings
  /** That of the managed provider. */
  readonly environment: string
  /** How the keys were used, where somebody counts. */
  readonly usage?: KeyUsage
  /** How many managed KEKs there are, by their states, for the operator's overview. */
  readonly kekCounts?: () => Promise<Readonly<Record<string, number>>>
  /** Where browsers reach the server, such as `https://vault.example.com`; as the request says unless told. */
  readonly url?: string | undefined
}

/** How often a key was used, and when for the last time. */
export type KeyUsage = {
  /** Since when it is counted. */
  readonly since: Date
  readonly of: (provider: string, keyId: string) => KeyUse
}

export type KeyUse = {
  readonly wraps: number
  readonly unwraps: number
  readonly refused: number
  readonly lastUsedAt: Date | undefined
}
