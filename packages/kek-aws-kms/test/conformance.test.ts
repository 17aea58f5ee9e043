import { awsKms, awsKmsClients } from "@keyfold/kek-aws-kms"
import { type Direction, type KekFault, type KekHarness, runKekConformance } from "@keyfold/provider-testkit"
import { startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { afterAll, beforeAll, describe, test } from "vitest"

runKekConformance(
  { name: "aws-kms", setup, medium: "network", notApplicable: {}, notApplicableCount: 0 },
  { describe, test, beforeAll, afterAll },
)

async function setup(): Promise<KekHarness> {
  const emulator = await startAwsEmulator()
  const clients = awsKmsClients({ credentials: emulator.credentials })
  const provider = awsKms({ clients })
  const keyId = emulator.createKey()
  const options = { endpoint: emulator.url }
  return {
    kek: provider.kek(keyId, options),
    otherKek: provider.kek(emulator.createKey(), options),
    states: {
      disable: async () => emulator.setState(keyId, "Disabled"),
      enable: async () => emulator.setState(keyId, "Enabled"),
      scheduleDeletion: async () => emulator.setState(keyId, "PendingDeletion"),
      cancelDeletion: async () => emulator.setState(keyId, "Enabled"),
      delete: async () => emulator.setState(keyId, "Deleted"),
      deny: async (direction) => emulator.deny("key-policy", ACTION[direction], keyId),
      allow: async (direction) => emulator.allow("key-policy", ACTION[direction], keyId),
    },
    fault: (fault) => emulator.inject(FAULTS[fault], { keyId }),
    openConnections: emulator.openConnections,
    async close() {
      clients.close()
      await emulator.close()
    },
  }
}

const ACTION: Readonly<Record<Direction, string>> = { wrap: "kms:Encrypt", unwrap: "kms:Decrypt" }

const FAULTS = {
  throttle: { kind: "throttle", retryAfterSeconds: 1 },
  unreachable: { kind: "reset" },
  "server-error": { kind: "server-error" },
  hang: { kind: "hang" },
  truncated: { kind: "truncated" },
  garbage: { kind: "garbage" },
  "other-key": { kind: "other-key" },
} as const satisfies Record<KekFault, unknown>
