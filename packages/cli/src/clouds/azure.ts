import { readFileSync } from "node:fs"
import { DefaultAzureCredential } from "@azure/identity"
import { KeyfoldError } from "@keyfold/core"
import { type AzureKeyOptions, type AzureKeyVaultProvider, azureKeyVault } from "@keyfold/kek-azure-keyvault"
import type { Cloud, CloudOptions } from "../clouds.ts"
import { fileFailure } from "../failure.ts"

/** Azure Key Vault and Managed HSM, called as whoever `DefaultAzureCredential` finds. */
export function azureCloud(): Cloud {
  const providers = new Map<string, AzureKeyVaultProvider>()

  function providerOf(name: string, { authority, caFile, ...options }: CloudOptions) {
    const hosts = hostsOf(name, { authority, caFile, ...options })
    const key = JSON.stringify([authority, caFile, hosts])
    const provider = providers.get(key) ?? connect(authority, caFile, hosts)
    providers.set(key, provider)
    return { provider, options: options as AzureKeyOptions }
  }

  return {
    kek(keyId, all) {
      const { provider, options } = providerOf(keyId, all)
      return provider.kek(keyId, options)
    },
    async resolveKeyId(name, all, call) {
      if (KEY_VERSION.test(name)) return name
      const { provider, options } = providerOf(name, all)
      return provider.resolveKeyId(name, options, call)
    },
    async close() {},
  }
}

function connect(
  authority: unknown,
  caFile: unknown,
  hosts: Readonly<Record<string, string>>,
): AzureKeyVaultProvider {
  const trust = caFile === undefined ? {} : { tlsOptions: { ca: readAuthority(caFile) } }
  const own =
    authority === undefined ? {} : { authorityHost: httpsUrl(authority), disableInstanceDiscovery: true }
  return azureKeyVault({ credential: new DefaultAzureCredential({ ...own, ...trust }), hosts, ...trust })
}

/**
 * The host of the key itself where it is not one of Azure's, and only for a binding that names its own authority:
 * tokens and key material go there, so whoever adds the binding must have said so.
 */
function hostsOf(keyId: string, { authority, algorithm }: CloudOptions): Readonly<Record<string, string>> {
  const host = URL.parse(keyId)?.host
  if (authority === undefined || host === undefined || AZURE_HOST.test(host)) return {}
  const service = algorithm === undefined || algorithm === "RSA-OAEP-256" ? "vault" : "managedhsm"
  return { [host]: `https://${service}.azure.net` }
}

function readAuthority(path: unknown): string {
  try {
    return readFileSync(String(path), "utf8")
  } catch (error) {
    throw fileFailure(`cannot read the certificates in ${path}`, error)
  }
}

function httpsUrl(authority: unknown): string {
  if (URL.parse(String(authority))?.protocol === "https:") return String(authority)
  throw new KeyfoldError("INVALID_ARGUMENT", "the authority of an azure-keyvault key is an https: address")
}

const KEY_VERSION = /\/keys\/[^/]+\/[^/]+$/
/** Hosts that are Azure's need no permission; the provider checks them to the letter. */
const AZURE_HOST = /\.(vault|managedhsm)\.(azure\.net|azure\.cn|usgovcloudapi\.net)$/
