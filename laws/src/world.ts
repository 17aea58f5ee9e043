/** Three clouds with a tenant on each, one tenant without, and a vault that serves them all. */
import { ClientSecretCredential } from "@azure/identity"
import { KeyClient } from "@azure/keyvault-keys"
import { KeyManagementServiceClient } from "@google-cloud/kms"
import { createKeyfold, type KekProvider, type Keyfold, type KeyfoldOptions } from "@keyfold/core"
import { awsKms, awsKmsClients } from "@keyfold/kek-aws-kms"
import { azureKeyVault } from "@keyfold/kek-azure-keyvault"
import { gcpKms } from "@keyfold/kek-gcp-kms"
import { createManagedProvider, type ManagedProvider, memoryStore } from "@keyfold/kek-managed"
import type { KmsEmulator } from "@keyfold/provider-testkit"
import { startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { startGcpEmulator } from "@keyfold/provider-testkit/gcp"
import { addBinding, type Binding, createRouter, type NewBinding, type RouterOptions } from "@keyfold/router"

export type CloudName = "aws" | "azure" | "gcp"
export const CLOUDS: readonly CloudName[] = ["aws", "azure", "gcp"]

/** A cloud's emulator, the provider of its keys, and what a customer does in its console. */
export type Cloud = {
  readonly provider: KekProvider
  readonly emulator: KmsEmulator
  /** What the cloud calls its wrap and unwrap. */
  readonly operations: readonly [wrap: string, unwrap: string]
  readonly createKey: () => { readonly keyId: string; readonly options: Readonly<Record<string, unknown>> }
  readonly disable: (keyId: string) => void
  readonly enable: (keyId: string) => void
}

export type World = AsyncDisposable & {
  readonly managed: ManagedProvider
  readonly clouds: Readonly<Record<CloudName, Cloud>>
  readonly bindings: Binding[]
  /** Binds `organization_id` of a tenant to a new key of a cloud; the tenant is named after it unless told. */
  readonly bind: (name: CloudName, more?: Partial<NewBinding>) => Promise<Binding>
  readonly save: (binding: Binding) => void
  readonly keyfold: (options?: Omit<KeyfoldOptions, "router">, router?: Partial<RouterOptions>) => Keyfold
  /** The public half of an RSA key, as anyone who may read the key gets it. */
  readonly azurePublicKey: (keyId: string) => Promise<Record<"kty" | "n" | "e", string>>
  /** Calls that reached a KMS, except for tokens and role sessions. */
  readonly calls: () => number
}

export async function startWorld(): Promise<World> {
  const managed = await createManagedProvider({
    store: memoryStore(),
    root: { key: crypto.getRandomValues(new Uint8Array(32)) },
    environment: "laws",
  })
  const [aws, azure, gcp] = await Promise.all([startAwsEmulator(), startAzureEmulator(), startGcpEmulator()])
  const awsClients = awsKmsClients({ credentials: aws.credentials })
  const { tenantId, clientId, clientSecret } = azure.client
  const credential = new ClientSecretCredential(tenantId, clientId, clientSecret, azure.credentialOptions())
  const gcpClient = new KeyManagementServiceClient(gcp.clientOptions())
  const clouds: Record<CloudName, Cloud> = {
    aws: {
      provider: awsKms({ clients: awsClients }),
      emulator: aws,
      operations: ["Encrypt", "Decrypt"],
      createKey: () => ({ keyId: aws.createKey(), options: { endpoint: aws.url } }),
      disable: (keyId) => aws.setState(keyId, "Disabled"),
      enable: (keyId) => aws.setState(keyId, "Enabled"),
    },
    azure: {
      provider: azureKeyVault({
        credential,
        hosts: azure.hosts,
        tlsOptions: azure.clientOptions().tlsOptions,
      }),
      emulator: azure,
      operations: ["wrapKey", "unwrapKey"],
      createKey: () => ({ keyId: azure.createKey(), options: {} }),
      disable: (keyId) => azure.setState(keyId, "disabled"),
      enable: (keyId) => azure.setState(keyId, "enabled"),
    },
    gcp: {
      provider: gcpKms({ client: gcpClient }),
      emulator: gcp,
      operations: ["Encrypt", "Decrypt"],
      createKey: () => ({ keyId: gcp.createKey(), options: {} }),
      disable: (keyId) => gcp.setState(keyId, "DISABLED"),
      enable: (keyId) => gcp.setState(keyId, "ENABLED"),
    },
  }
  const bindings: Binding[] = []
  const save = (binding: Binding) => {
    const at = bindings.findIndex(({ id }) => id === binding.id)
    bindings.splice(at === -1 ? bindings.length : at, at === -1 ? 0 : 1, binding)
  }
  const providers = CLOUDS.map((name) => clouds[name].provider)
  return {
    managed,
    clouds,
    bindings,
    save,
    async bind(name, more = {}) {
      const { provider, createKey } = clouds[name]
      const { keyId, options } = createKey()
      const id = more.id ?? name
      const draft = { id, owner: id, match: { organization_id: id }, options, ...more }
      return addBinding(draft, provider.kek(keyId, options), bindings, { managed, save })
    },
    keyfold: (options, router) =>
      createKeyfold({
        router: createRouter({ managed, providers, bindings: () => bindings, bindingTtlMs: 0, ...router }),
        ...options,
      }),
    async azurePublicKey(keyId) {
      const [, , , , name = "", version = ""] = keyId.split("/")
      const client = new KeyClient(azure.url, credential, azure.clientOptions())
      const { key } = await client.getKey(name, { version })
      const encode = (bytes: Uint8Array | undefined) => Buffer.from(bytes ?? []).toString("base64url")
      return { kty: "RSA", n: encode(key?.n), e: encode(key?.e) }
    },
    calls: () =>
      CLOUDS.flatMap((name) => clouds[name].emulator.calls).filter(
        ({ operation }) => operation !== "token" && operation !== "AssumeRole",
      ).length,
    async [Symbol.asyncDispose]() {
      awsClients.close()
      await gcpClient.close()
      await Promise.all([aws.close(), azure.close(), gcp.close(), managed.close()])
    },
  }
}
