import { KeyManagementServiceClient } from "@google-cloud/kms"
import { KeyfoldError } from "@keyfold/core"
import { type GcpKmsProvider, gcpKms } from "@keyfold/kek-gcp-kms"
import { type ClientOptions, googleAuthLibrary, grpc } from "google-gax"
import type { Cloud, CloudOptions } from "../clouds.ts"

/** Google Cloud KMS, called with the application default credentials. */
export function gcpCloud(): Cloud {
  const connections = new Map<string, { client: KeyManagementServiceClient; provider: GcpKmsProvider }>()

  function providerOf({ endpoint, insecureEmulator }: CloudOptions): GcpKmsProvider {
    const key = JSON.stringify([endpoint, insecureEmulator])
    let connection = connections.get(key)
    if (connection === undefined) {
      const client = new KeyManagementServiceClient(clientOptions(endpoint, insecureEmulator))
      connection = { client, provider: gcpKms({ client }) }
      connections.set(key, connection)
    }
    return connection.provider
  }

  return {
    kek(keyId, { endpoint, insecureEmulator, ...options }) {
      return providerOf({ endpoint, insecureEmulator }).kek(keyId, options)
    },
    resolveKeyId: async (name) => name,
    hintDenials: (keyId, { endpoint, insecureEmulator, ...options }, ...rest) =>
      providerOf({ endpoint, insecureEmulator }).hintDenials(keyId, options, ...rest),
    async close() {
      // A client that found no credentials fails once more when it is closed.
      await Promise.allSettled([...connections.values()].map(({ client }) => client.close()))
    },
  }
}

function clientOptions(endpoint: unknown, insecureEmulator: unknown): ClientOptions {
  if (endpoint === undefined && insecureEmulator === undefined) return {}
  const [, host, port] = ENDPOINT.exec(String(endpoint)) ?? []
  if (host === undefined || port === undefined) {
    throw new KeyfoldError("INVALID_ARGUMENT", "the endpoint of a gcp-kms key is HOST:PORT")
  }
  const address = { apiEndpoint: host, port: Number(port) }
  if (insecureEmulator === undefined) return address
  if (insecureEmulator !== true || !LOOPBACK.test(host)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "only an emulator on this machine is reached without TLS")
  }
  return {
    ...address,
    sslCreds: grpc.credentials.createInsecure(),
    // No credential of this machine goes to an emulator.
    authClient: new googleAuthLibrary.PassThroughClient(),
  }
}

const ENDPOINT = /^([a-zA-Z0-9.-]{1,253}):(\d{1,5})$/
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+)$/
