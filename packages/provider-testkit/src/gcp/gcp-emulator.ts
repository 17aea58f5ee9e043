import { type ClientOptions, googleAuthLibrary, grpc } from "google-gax"
import { FaultPlan, type KmsEmulator, type RecordedCall } from "../emulator.ts"
import { cryptoRpcs } from "./crypto-rpcs.ts"
import { Iam, testIamPermissions } from "./iam.ts"
import { type GcpProtectionLevel, type GcpVersionState, KeyStore, SYMMETRIC } from "./key-store.ts"
import { managementRpcs } from "./management-rpcs.ts"
import { RpcError } from "./rpc-error.ts"
import { startRpcServer } from "./rpc-server.ts"

/**
 * A local Google Cloud KMS that the unmodified `@google-cloud/kms` talks to, over gRPC without TLS. `openConnections`
 * counts calls in flight: gRPC has all calls of a client on one connection, and cancelling one ends its stream.
 */
export interface GcpEmulator extends KmsEmulator {
  /** All that a client in another process needs, as plain data; its channel credentials are insecure ones. */
  readonly connection: GcpConnection
  /** Options for `new KeyManagementServiceClient(…)`. */
  clientOptions(): ClientOptions
  /** Makes a key with one enabled version, which is primary. Gives its id. */
  createKey(options?: GcpKeyOptions): string
  /** Makes a new version and makes it primary. Gives its number. */
  rotate(keyId: string): number
  /** Puts one version, the primary one unless told, into a state, as time or an operator would. */
  setState(keyId: string, state: GcpVersionState, version?: number): void
  /** Takes an IAM permission such as `cloudkms.cryptoKeyVersions.useToDecrypt` away, for one key or for all. */
  deny(permission: string, keyId?: string): void
  allow(permission: string, keyId?: string): void
  /** Turns the whole API on or off in the project. */
  setApiEnabled(enabled: boolean): void
}

export type GcpConnection = {
  readonly url: string
  readonly apiEndpoint: string
  readonly port: number
  readonly projectId: string
  /** The key ring that is there from the start. */
  readonly keyRing: string
}

export type GcpKeyOptions = {
  /** The last part of the key's id. */
  readonly name?: string
  readonly protectionLevel?: GcpProtectionLevel
  /** `ENCRYPT_DECRYPT` unless told; keys of other purposes can be described, and that is all. */
  readonly purpose?: string
}

/**
 * Starts an emulator on 127.0.0.1; port 0, the default, takes any free one. Its keys live as long as it does. Its own
 * methods throw the errors that the service would give, such as `NOT_FOUND`.
 */
export async function startGcpEmulator(options: { readonly port?: number } = {}): Promise<GcpEmulator> {
  const store = new KeyStore()
  const iam = new Iam()
  const faults = new FaultPlan()
  const calls: RecordedCall[] = []
  let apiEnabled = true
  store.createRing(KEY_RING)

  function createKey({
    name,
    purpose = SYMMETRIC,
    protectionLevel = "SOFTWARE",
  }: GcpKeyOptions = {}): string {
    const id = `${KEY_RING}/cryptoKeys/${name ?? `key-${store.keys.size + 1}`}`
    store.createKey(id, { purpose, protectionLevel })
    return id
  }

  const server = await startRpcServer(
    {
      rpcs: {
        ...cryptoRpcs(store),
        ...managementRpcs(store),
        TestIamPermissions: testIamPermissions(store, iam),
      },
      answer(rpc, request) {
        if (!apiEnabled) throw apiOff()
        if (rpc.permission !== undefined) iam.check(rpc.permission, rpc.resource(request))
        return rpc.answer(request)
      },
      decoy: () => (store.keys.has(DECOY) ? DECOY : createKey({ name: "decoy" })),
      faults,
      calls,
    },
    HOST,
    options.port ?? 0,
  )
  const url = `http://${HOST}:${server.port}`
  const connection = { url, apiEndpoint: HOST, port: server.port, projectId: PROJECT, keyRing: KEY_RING }

  return {
    url,
    connection,
    calls,
    clientOptions: () => ({
      apiEndpoint: HOST,
      port: server.port,
      projectId: PROJECT,
      sslCreds: grpc.credentials.createInsecure(),
      // Keeps the SDK from looking for the machine's own credentials and for Google's metadata server.
      authClient: new googleAuthLibrary.PassThroughClient(),
    }),
    createKey,
    rotate(keyId) {
      const key = store.key(keyId)
      key.primary = store.createVersion(key)
      return key.primary.number
    },
    setState(keyId, state, version) {
      const key = store.key(keyId)
      const chosen = version === undefined ? key.primary : key.versions[version - 1]
      if (chosen === undefined) throw new RpcError("NOT_FOUND", `${keyId} has no such version.`)
      store.setState(chosen, state)
    },
    deny: (permission, keyId) => iam.deny(permission, keyId),
    allow: (permission, keyId) => iam.allow(permission, keyId),
    setApiEnabled: (enabled) => {
      apiEnabled = enabled
    },
    inject: (fault, injectOptions) => faults.inject(fault, injectOptions),
    openConnections: () => server.openCalls(),
    close: () => server.close(),
  }
}

function apiOff(): RpcError {
  return new RpcError(
    "PERMISSION_DENIED",
    `Cloud Key Management Service (KMS) API has not been used in project ${PROJECT} before or it is disabled.`,
    [
      {
        type: "ErrorInfo",
        reason: "SERVICE_DISABLED",
        domain: "googleapis.com",
        metadata: { service: "cloudkms.googleapis.com", consumer: `projects/${PROJECT}` },
      },
    ],
  )
}

const HOST = "127.0.0.1"
const PROJECT = "keyfold-emulator"
const KEY_RING = `projects/${PROJECT}/locations/europe-west3/keyRings/keyfold`
const DECOY = `${KEY_RING}/cryptoKeys/decoy`
