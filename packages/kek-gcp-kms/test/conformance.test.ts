import { type Direction, type Fault, type KekFault, runKekConformance } from "@keyfold/provider-testkit"
import { afterAll, beforeAll, describe, test } from "vitest"
import { gcpKms } from "../src/index.ts"
import { startGcp } from "./gcp.ts"

const PERMISSION: Record<Direction, string> = {
  wrap: "cloudkms.cryptoKeyVersions.useToEncrypt",
  unwrap: "cloudkms.cryptoKeyVersions.useToDecrypt",
}

const FAULT: Record<KekFault, Fault> = {
  throttle: { kind: "throttle", retryAfterSeconds: 1 },
  unreachable: { kind: "reset" },
  "server-error": { kind: "server-error" },
  hang: { kind: "hang" },
  truncated: { kind: "truncated" },
  garbage: { kind: "garbage" },
  "other-key": { kind: "other-key" },
}

runKekConformance(
  {
    name: "gcp-kms",
    medium: "network",
    notApplicable: {
      "an unwrap made by another key is thrown away":
        "the answer of Decrypt names no key; the envelope's MAC does not hold then",
    },
    notApplicableCount: 1,
    async setup() {
      const gcp = await startGcp()
      const { emulator, client } = gcp
      const keyId = emulator.createKey()
      const version = { name: `${keyId}/cryptoKeyVersions/1` }
      const provider = gcpKms({ client })
      const setEnabled = async (enabled: boolean) => {
        const state = enabled ? "ENABLED" : "DISABLED"
        const cryptoKeyVersion = { ...version, state } as const
        await client.updateCryptoKeyVersion({ cryptoKeyVersion, updateMask: { paths: ["state"] } })
      }
      return {
        kek: provider.kek(keyId),
        otherKek: provider.kek(emulator.createKey()),
        states: {
          disable: () => setEnabled(false),
          enable: () => setEnabled(true),
          scheduleDeletion: async () => void (await client.destroyCryptoKeyVersion(version)),
          async cancelDeletion() {
            await client.restoreCryptoKeyVersion(version)
            await setEnabled(true)
          },
          delete: async () => emulator.setState(keyId, "DESTROYED"),
          deny: async (direction) => emulator.deny(PERMISSION[direction], keyId),
          allow: async (direction) => emulator.allow(PERMISSION[direction], keyId),
        },
        fault: (fault) => emulator.inject(FAULT[fault], { keyId }),
        openConnections: () => emulator.openConnections(),
        close: async () => gcp[Symbol.asyncDispose](),
      }
    },
  },
  { describe, test, beforeAll, afterAll },
)
