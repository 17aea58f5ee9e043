import { ClientSecretCredential } from "@azure/identity"
import { type AzureKeyOptions, azureKeyVault } from "@keyfold/kek-azure-keyvault"
import { type Direction, type KekFault, type KekHarness, runKekConformance } from "@keyfold/provider-testkit"
import { type AzurePermission, startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { afterAll, beforeAll, describe, test } from "vitest"

const notApplicable = {
  "a key that is pending deletion does nothing, until that is cancelled":
    "Key Vault answers for a deleted key that can be recovered as for one that does not exist",
} as const

for (const [name, service, options] of [
  ["azure-keyvault, RSA", "vault", {}],
  ["azure-keyvault, Managed HSM", "hsm", { algorithm: "A256GCM" }],
] as const) {
  runKekConformance(
    {
      name,
      setup: () => setup(service, options),
      medium: "network",
      notApplicable,
      notApplicableCount: 1,
    },
    { describe, test, beforeAll, afterAll },
  )
}

async function setup(service: "vault" | "hsm", options: AzureKeyOptions): Promise<KekHarness> {
  const emulator = await startAzureEmulator()
  const { tenantId, clientId, clientSecret } = emulator.client
  const credential = new ClientSecretCredential(
    tenantId,
    clientId,
    clientSecret,
    emulator.credentialOptions(),
  )
  const { tlsOptions } = emulator.clientOptions()
  const provider = azureKeyVault({ credential, hosts: emulator.hosts, tlsOptions })
  const keyId = emulator.createKey({ service })
  const permission = PERMISSIONS[service]
  return {
    kek: provider.kek(keyId, options),
    otherKek: provider.kek(emulator.createKey({ service }), options),
    states: {
      disable: async () => emulator.setState(keyId, "disabled"),
      enable: async () => emulator.setState(keyId, "enabled"),
      scheduleDeletion: async () => emulator.setState(keyId, "deleted"),
      cancelDeletion: async () => emulator.setState(keyId, "enabled"),
      async delete() {
        emulator.setState(keyId, "deleted")
        emulator.setState(keyId, "purged")
      },
      deny: async (direction) => emulator.deny("rbac", permission[direction], keyId),
      allow: async (direction) => emulator.allow("rbac", permission[direction], keyId),
    },
    fault: (fault) => emulator.inject(FAULTS[fault], { keyId }),
    openConnections: emulator.openConnections,
    close: emulator.close,
  }
}

const PERMISSIONS: Readonly<Record<"vault" | "hsm", Readonly<Record<Direction, AzurePermission>>>> = {
  vault: { wrap: "wrapKey", unwrap: "unwrapKey" },
  hsm: { wrap: "encrypt", unwrap: "decrypt" },
}

const FAULTS = {
  throttle: { kind: "throttle", retryAfterSeconds: 1 },
  unreachable: { kind: "reset" },
  "server-error": { kind: "server-error" },
  hang: { kind: "hang" },
  truncated: { kind: "truncated" },
  garbage: { kind: "garbage" },
  "other-key": { kind: "other-key" },
} as const satisfies Record<KekFault, unknown>
