import type { TokenCredential } from "@azure/core-auth"
import { type Kek, type KekCallOptions, type KekProvider, KeyfoldError } from "@keyfold/core"
import { sha256 } from "@keyfold/core/crypto"
import { toFailure } from "./failure.ts"
import { keyFacts } from "./key-facts.ts"
import { type AzureKeyOptions, checkKeyOptions, type KeyAddress, parseKeyId } from "./key-id.ts"
import { type ConnectionOptions, VaultClient, type VaultReply } from "./vault-client.ts"
import { type KeyOperation, readSecret, readWrapped, unwrapOperation, wrapOperation } from "./wrapped-form.ts"

export type AzureKeyVaultOptions = ConnectionOptions & {
  /** Who calls: any credential of `@azure/identity`. */
  readonly credential: TokenCredential
  /**
   * Hosts beside Azure's own that keys may be at, with their port where that is not 443, each with the resource that
   * tokens for it are issued for: an Azure Stack, an emulator. They get tokens and key material: never let a tenant
   * name one.
   */
  readonly hosts?: Readonly<Record<string, string>>
  /** Bound of each wrap, unwrap or describe, in milliseconds; 10,000 unless told. */
  readonly timeoutMs?: number
}

export interface AzureKeyVaultProvider extends KekProvider<AzureKeyOptions> {
  /**
   * The id of the version that a key id without one stands for today: ask once, and keep it.
   * @throws KeyfoldError `INVALID_ARGUMENT` for another form of id, and as a KEK's `describe` does
   */
  resolveKeyId(name: string, options?: AzureKeyOptions, call?: KekCallOptions): Promise<string>
}

/**
 * Customer keys in Azure Key Vault and Managed HSM: RSA keys, whose wraps the engine joins with a companion, and
 * symmetric ones. A key id is `https://HOST/keys/NAME/VERSION`. Every wrap and unwrap is done by the service.
 * @throws KeyfoldError `INVALID_ARGUMENT` for a bad `timeoutMs` and, from `kek`, for another form of id, an unknown
 * host or an option that does not fit
 */
export function azureKeyVault({
  credential,
  hosts = {},
  timeoutMs = 10_000,
  ...connection
}: AzureKeyVaultOptions): AzureKeyVaultProvider {
  if (!Number.isInteger(timeoutMs) || timeoutMs < 1 || timeoutMs > MAX_TIMEOUT_MS) {
    throw invalid("timeoutMs is a whole number of milliseconds from 1 to 600,000")
  }
  const vaults = new VaultClient(credential, connection, timeoutMs)
  return {
    id: PROVIDER_ID,
    kek(keyId, options = {}) {
      const address = parseKeyId(keyId, hosts)
      if (address.version === "") {
        throw invalid("an azure-keyvault key id ends with a version: get it once, with resolveKeyId")
      }
      checkKeyOptions(options)
      return azureKek(keyId, address, options, vaults)
    },
    async resolveKeyId(name, options = {}, { signal, onRequest } = {}) {
      const { resource } = parseKeyId(name, hosts)
      checkKeyOptions(options)
      const { tenantId } = options
      return vaults.call({
        ...{ url: name, resource, tenantId, permission: "get", signal, onRequest },
        read({ key }) {
          const kid = String((key as { readonly kid?: unknown } | undefined)?.kid)
          if (!isSameKey(kid, name) && !isSameKey(kid.slice(0, kid.lastIndexOf("/")), name))
            throw anotherKey()
          return kid
        },
      })
    },
  }
}

function azureKek(
  keyId: string,
  { vaultUrl, resource, name }: KeyAddress,
  { algorithm = "RSA-OAEP-256", tenantId }: AzureKeyOptions,
  vaults: VaultClient,
): Kek {
  /** Has the service do something with the key, and checks that it was this key. */
  function use<Result>(
    { verb, body }: KeyOperation,
    { signal, onRequest }: KekCallOptions,
    read: (reply: VaultReply) => Result,
  ): Promise<Result> {
    return vaults.call({
      ...{
        url: `${keyId}/${verb.toLowerCase()}`,
        resource,
        tenantId,
        permission: verb,
        body,
        signal,
        onRequest,
      },
      read(reply) {
        if (!isSameKey(reply.kid, keyId)) throw anotherKey()
        return read(reply)
      },
    })
  }

  const look = { resource, tenantId, permission: "get" } as const
  return {
    providerId: PROVIDER_ID,
    keyId,

    async wrap(secret, context, options) {
      const operation = wrapOperation(algorithm, secret, sha256(context.binding))
      const wrapped = await use(operation, options, (reply) => readWrapped(algorithm, reply))
      return { keyVersion: 0, leased: false, wrapped }
    },

    async unwrap({ keyVersion, leased, wrapped }, context, options) {
      if (keyVersion !== 0 || leased)
        throw new KeyfoldError("DECRYPTION_FAILED", "not a direct wrap of Azure")
      const b = sha256(context.binding)
      const operation = unwrapOperation(algorithm, wrapped, b)
      return use(operation, options, (reply) => readSecret(operation, reply, b))
    },

    async describe({ signal, onRequest }) {
      try {
        return await vaults.call({
          ...{ ...look, url: keyId, signal, onRequest },
          read(bundle) {
            if (!isSameKey((bundle.key as { readonly kid?: unknown } | undefined)?.kid, keyId))
              throw anotherKey()
            return keyFacts(bundle)
          },
        })
      } catch (error) {
        if (toFailure(error).code !== "KEY_NOT_FOUND") throw error
        // A deleted key is not found either; who may look among the deleted ones learns until when it can be recovered.
        const url = `${vaultUrl}/deletedkeys/${name}`
        return vaults.call({ ...look, url, signal, onRequest, read: keyFacts }).catch(() => {
          throw error
        })
      }
    },

    classify: (error) => toFailure(error).code,
  }
}

/** Names of keys do not differ by case alone. */
function isSameKey(kid: unknown, keyId: string): boolean {
  return typeof kid === "string" && kid.toLowerCase() === keyId.toLowerCase()
}

function anotherKey(): KeyfoldError {
  return new KeyfoldError("UNKNOWN", "Key Vault answered for another key, and the answer was thrown away", {
    side: "network",
    fix: "look for a proxy that mixes up answers",
  })
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

const PROVIDER_ID = "azure-keyvault"
/** As for the engine's own deadline. */
const MAX_TIMEOUT_MS = 600_000
