import type { CmkProvider } from "@keyfold/byok"
import { type Kek, type KekCallOptions, type KekProvider, KeyfoldError } from "@keyfold/core"

/** How a binding reaches its key; each cloud checks its own. */
export type CloudOptions = Readonly<Record<string, unknown>>

/** A key management service with its SDK loaded. */
export type Cloud = {
  /** @throws KeyfoldError `INVALID_ARGUMENT` for an id or option that does not fit */
  readonly kek: (keyId: string, options: CloudOptions) => Kek
  /** The id of the one key that a name, such as an alias, stands for today. Asks only where it is not one already. */
  readonly resolveKeyId: (name: string, options: CloudOptions, call?: KekCallOptions) => Promise<string>
  /** Where the cloud can foretell denials. */
  readonly hintDenials?: NonNullable<CmkProvider["hintDenials"]>
  /** Ends its connections. */
  readonly close: () => Promise<void>
}

export type Clouds = {
  /** For a router: KEKs that load their cloud when they are used. */
  readonly providers: readonly KekProvider[]
  readonly cloud: (provider: CloudId) => Promise<Cloud>
  /** Closes those that were loaded. */
  readonly close: () => Promise<void>
}

export type CloudId = "aws-kms" | "azure-keyvault" | "gcp-kms"

/** No SDK is loaded before a key of its cloud is used: together they take a quarter of a second and 100 MB. */
export function createClouds(): Clouds {
  const loaded = new Map<CloudId, Promise<Cloud>>()

  function cloud(id: CloudId): Promise<Cloud> {
    const loading = loaded.get(id) ?? LOADERS[id]()
    loaded.set(id, loading)
    return loading
  }

  return {
    providers: CLOUD_IDS.map((id) => ({
      id,
      kek: (keyId, options) =>
        lazyKek(id, keyId, async () => (await cloud(id)).kek(keyId, (options ?? {}) as CloudOptions)),
    })),
    cloud,
    async close() {
      // One that could not be loaded has failed whatever wanted it.
      for (const loading of loaded.values()) await (await loading.catch(() => undefined))?.close()
    },
  }
}

function lazyKek(providerId: CloudId, keyId: string, load: () => Promise<Kek>): Kek {
  let loaded: Kek | undefined

  async function ready(signal: AbortSignal | undefined): Promise<Kek> {
    loaded ??= await load()
    // Whoever gave up meanwhile has wiped the secret.
    signal?.throwIfAborted()
    return loaded
  }

  return {
    providerId,
    keyId,
    async wrap(secret, context, options) {
      return (await ready(options.signal)).wrap(secret, context, options)
    },
    async unwrap(record, context, options) {
      return (await ready(options.signal)).unwrap(record, context, options)
    },
    async describe(options) {
      return (await ready(options.signal)).describe(options)
    },
    classify: (error) =>
      error instanceof KeyfoldError ? error.code : (loaded?.classify(error) ?? "UNKNOWN"),
  }
}

const LOADERS: Readonly<Record<CloudId, () => Promise<Cloud>>> = {
  "aws-kms": async () => (await import("./clouds/aws.ts")).awsCloud(),
  "azure-keyvault": async () => (await import("./clouds/azure.ts")).azureCloud(),
  "gcp-kms": async () => (await import("./clouds/gcp.ts")).gcpCloud(),
}
const CLOUD_IDS = Object.keys(LOADERS) as CloudId[]
