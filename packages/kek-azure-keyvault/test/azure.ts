import { ClientSecretCredential } from "@azure/identity"
import { KeyfoldError, type Pair, type WrapContext } from "@keyfold/core"
import {
  type AzureKeyOptions,
  type AzureKeyVaultOptions,
  type AzureKeyVaultProvider,
  azureKeyVault,
} from "@keyfold/kek-azure-keyvault"
import { type AzureEmulator, startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { expect } from "vitest"

export type Azure = {
  readonly emulator: AzureEmulator
  readonly credential: ClientSecretCredential
  readonly provider: AzureKeyVaultProvider
  /** Another provider of the same vaults. */
  readonly providerWith: (options?: Partial<AzureKeyVaultOptions>) => AzureKeyVaultProvider
  /** A new credential, which has no token yet. It asks once. */
  readonly newCredential: (change?: { tenantId?: string; clientSecret?: string }) => ClientSecretCredential
}

/** An emulator, and a provider of its keys. */
export async function startAzure(): Promise<Azure & AsyncDisposable> {
  const emulator = await startAzureEmulator()
  const newCredential: Azure["newCredential"] = (change = {}) => {
    const { tenantId, clientId, clientSecret } = { ...emulator.client, ...change }
    return new ClientSecretCredential(tenantId, clientId, clientSecret, {
      ...emulator.credentialOptions(),
      additionallyAllowedTenants: ["*"],
      retryOptions: { maxRetries: 0 },
    })
  }
  const credential = newCredential()
  const { hosts } = emulator
  const { tlsOptions } = emulator.clientOptions()
  const providerWith = (options: Partial<AzureKeyVaultOptions> = {}) =>
    azureKeyVault({ credential, hosts, tlsOptions, ...options })
  return {
    emulator,
    credential,
    provider: providerWith(),
    providerWith,
    newCredential,
    [Symbol.asyncDispose]: emulator.close,
  }
}

/** A new key, a KEK of it, and something that it wrapped. RSA unless told. */
export async function wrapped(
  { emulator, provider }: Azure,
  { algorithm = "RSA-OAEP-256" }: Pick<AzureKeyOptions, "algorithm"> = {},
) {
  const keyId = emulator.createKey({ service: algorithm === "RSA-OAEP-256" ? "vault" : "hsm" })
  const kek = provider.kek(keyId, { algorithm })
  const secret = newSecret()
  const record = await kek.wrap(secret, wrapContext(), {})
  const from = emulator.calls.length
  return {
    keyId,
    kek,
    secret,
    record,
    wrap: async (signal?: AbortSignal) => kek.wrap(secret, wrapContext(), { signal }),
    unwrap: async (signal?: AbortSignal) => kek.unwrap(record, wrapContext(), { signal }),
    calls: () => emulator.calls.slice(from).map(({ operation }) => operation),
  }
}

const covered: readonly Pair[] = [{ name: "organization_id", value: "org_1" }]

/** What a wrap is bound to, different for each seed. */
export function wrapContext(seed = 0): WrapContext {
  return { binding: new Uint8Array(71).fill(seed), covered, owner: "org_1" }
}

/** A 32-byte secret that no other test has. */
export function newSecret(): Uint8Array {
  return crypto.getRandomValues(new Uint8Array(32))
}

export async function failureOf(run: () => unknown): Promise<KeyfoldError> {
  const error = await (async () => run())().then(
    () => expect.unreachable("it succeeded"),
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(KeyfoldError)
  return error as KeyfoldError
}
