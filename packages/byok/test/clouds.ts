/** The three clouds' emulators, each with a provider of its keys: the real SDKs. */
import { ClientSecretCredential } from "@azure/identity"
import { KeyManagementServiceClient } from "@google-cloud/kms"
import type { CmkBinding, CmkProvider } from "@keyfold/byok"
import { awsKms, awsKmsClients } from "@keyfold/kek-aws-kms"
import { azureKeyVault } from "@keyfold/kek-azure-keyvault"
import { gcpKms } from "@keyfold/kek-gcp-kms"
import type { KmsEmulator } from "@keyfold/provider-testkit"
import { type AwsEmulator, startAwsEmulator } from "@keyfold/provider-testkit/aws"
import {
  type AzureEmulator,
  type AzureEmulatorOptions,
  startAzureEmulator,
} from "@keyfold/provider-testkit/azure"
import { type GcpEmulator, startGcpEmulator } from "@keyfold/provider-testkit/gcp"

export type Lab<Emulator extends KmsEmulator> = {
  readonly emulator: Emulator
  readonly provider: CmkProvider
  readonly close: () => Promise<void>
}

export type LabOptions = {
  /** In place of the right ones. */
  readonly secret?: string
  readonly tenant?: string
  /** Bound of a call. */
  readonly timeoutMs?: number
}

export async function awsLab({ secret, timeoutMs = PATIENT_MS }: LabOptions = {}): Promise<Lab<AwsEmulator>> {
  const emulator = await startAwsEmulator()
  const { accessKeyId, secretAccessKey } = emulator.credentials
  const clients = awsKmsClients({
    credentials: { accessKeyId, secretAccessKey: secret ?? secretAccessKey },
    ...{ stsEndpoint: emulator.url, requestTimeoutMs: timeoutMs },
  })
  const provider = awsKms({ clients })
  return {
    emulator,
    provider: withDefaults(provider, { endpoint: emulator.url }),
    async close() {
      clients.close()
      await emulator.close()
    },
  }
}

export async function azureLab(
  { tenant, secret, timeoutMs = PATIENT_MS }: LabOptions = {},
  options: AzureEmulatorOptions = { purgeProtection: true },
): Promise<Lab<AzureEmulator>> {
  const emulator = await startAzureEmulator(options)
  const { tenantId, clientId, clientSecret } = emulator.client
  const credential = new ClientSecretCredential(tenant ?? tenantId, clientId, secret ?? clientSecret, {
    ...emulator.credentialOptions(),
    retryOptions: { maxRetries: 0 },
  })
  const { tlsOptions } = emulator.clientOptions()
  const provider = azureKeyVault({ credential, hosts: emulator.hosts, tlsOptions, timeoutMs })
  return { emulator, provider, close: emulator.close }
}

export async function gcpLab({ timeoutMs = PATIENT_MS }: LabOptions = {}): Promise<Lab<GcpEmulator>> {
  const emulator = await startGcpEmulator()
  const client = new KeyManagementServiceClient(emulator.clientOptions())
  return {
    emulator,
    provider: gcpKms({ client, timeoutMs }),
    async close() {
      await client.close()
      await emulator.close()
    },
  }
}

/** A binding that is yet to be added. */
export function bindingOf(keyId: string, change: Partial<CmkBinding> = {}): CmkBinding {
  return { keyId, owner: OWNER, match: MATCH, options: {}, ...change }
}

/** How many requests the KMS got, those for tokens and roles not among them. */
export function kmsCalls({ calls }: KmsEmulator): number {
  const others = new Set(["AssumeRole", "GetCallerIdentity", "token", "openIdConfiguration"])
  return calls.filter(({ operation }) => !others.has(operation)).length
}

/** So that a binding of the emulator looks as one of the cloud does. */
function withDefaults(provider: CmkProvider, defaults: object): CmkProvider {
  const { hintDenials, resolveKeyId } = provider
  return {
    id: provider.id,
    kek: (keyId, options) => provider.kek(keyId, { ...defaults, ...options }),
    ...(resolveKeyId && {
      resolveKeyId: (name, options, call) =>
        resolveKeyId.call(provider, name, { ...defaults, ...options }, call),
    }),
    ...(hintDenials && {
      hintDenials: (keyId, options, context, call) =>
        hintDenials.call(provider, keyId, { ...defaults, ...options }, context, call),
    }),
  }
}

/** More than a call takes on a busy machine. */
const PATIENT_MS = 5_000
export const SECRET_VALUE = "org_canary_value"
export const MATCH = { organization_id: SECRET_VALUE }
export const OWNER = "acme"
