import { KeyManagementServiceClient } from "@google-cloud/kms"
import type { Pair, WrapContext } from "@keyfold/core"
import { type GcpEmulator, startGcpEmulator } from "@keyfold/provider-testkit/gcp"

export type Gcp = { readonly emulator: GcpEmulator; readonly client: KeyManagementServiceClient }

/** An emulator and the unmodified SDK's client of it. */
export async function startGcp(): Promise<Gcp & AsyncDisposable> {
  const emulator = await startGcpEmulator()
  const client = new KeyManagementServiceClient(emulator.clientOptions())
  return {
    emulator,
    client,
    async [Symbol.asyncDispose]() {
      await client.close()
      await emulator.close()
    },
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
