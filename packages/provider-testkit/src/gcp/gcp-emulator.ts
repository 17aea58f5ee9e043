import { once } from "node:events"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { type ClientOptions, googleAuthLibrary, grpc } from "google-gax"
import { FaultPlan, type KmsEmulator, type RecordedCall } from "../emulator.ts"
import { damageReply, damageRequest, refusal } from "./faults.ts"
import { Iam, keyOf } from "./iam.ts"
import { type GcpProtectionLevel, type GcpVersionState, KeyStore, SYMMETRIC } from "./key-store.ts"
import { iamPolicy, keyManagement } from "./protos.ts"
import { RpcError } from "./rpc-error.ts"
import { kmsRpcs, type Rpc } from "./rpcs.ts"

/**
 * A local Google Cloud KMS that the unmodified `@google-cloud/kms` talks to, over gRPC without TLS. `openConnections`
 * counts calls in flight: gRPC has all calls of a client on one connection, and cancelling one ends its stream.
 */
export interface GcpEmulator extends KmsEmulator {
  readonly port: number
  /** `projects/P/locations/L`: key rings can be made there, and one of them is there for `createKey`. */
  readonly parent: string
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

export type GcpKeyOptions = {
  readonly id?: string
  readonly protectionLevel?: GcpProtectionLevel
  readonly purpose?: string
}

/** Starts an emulator on 127.0.0.1; port 0, the default, takes any free one. Its keys live as long as it does. */
export async function startGcpEmulator(options: { readonly port?: number } = {}): Promise<GcpEmulator> {
  const store = new KeyStore()
  const iam = new Iam()
  const plan = new FaultPlan()
  const calls: RecordedCall[] = []
  const sockets = new Map<string, Socket>()
  const closing = new AbortController()
  let inFlight = 0
  let apiEnabled = true

  async function serve(
    { operation, rpc, encode }: Method,
    call: Call,
    cancelled: AbortSignal,
  ): Promise<object> {
    let request = call.request
    const resource = rpc.resource(request)
    const faults = plan.take(operation, keyOf(resource))
    for (const fault of faults) {
      if (fault.kind === "latency") await sleep(fault.ms, undefined, { signal: cancelled })
      if (fault.kind === "reset") sockets.get(call.getPeer())?.resetAndDestroy()
      if (fault.kind === "hang" || fault.kind === "reset") await aborted(cancelled)
      const error = refusal(fault, rpc.permission, resource)
      if (error !== undefined) throw error
      if (fault.kind === "crc" && fault.where === "request") request = damageRequest(request)
      if (fault.kind === "other-key") request = redirect(operation, request, decoy())
    }
    if (!apiEnabled) throw apiOff(PROJECT)
    if (rpc.permission !== undefined) iam.check(rpc.permission, resource)
    const reply = rpc.answer(request)
    return faults.reduce((damaged, fault) => damageReply(fault, damaged, encode), reply)
  }

  function handler(method: Method): grpc.handleUnaryCall<object, object> {
    return async (call, callback) => {
      const { operation, rpc } = method
      const keyId = keyOf(rpc.resource(call.request))
      const at = Date.now()
      const cancelled = cancellation(call, closing.signal)
      inFlight++
      let failure: RpcError | undefined
      let reply: object | null = null
      try {
        reply = await serve(method, call, cancelled)
      } catch (error) {
        if (error instanceof RpcError) failure = error
        else if (cancelled.aborted) failure = new RpcError("CANCELLED", "The call was cancelled.")
        else failure = new RpcError("INTERNAL", `The emulator failed: ${error}`)
      }
      inFlight--
      calls.push({
        operation,
        keyId,
        at,
        ok: failure === undefined,
        ...(failure && { error: failure.status }),
      })
      callback(failure ?? null, reply)
    }
  }

  const server = new grpc.Server()
  const methods = { ...kmsRpcs(store), TestIamPermissions: testIamPermissions(store, iam) }
  for (const service of [keyManagement, iamPolicy]) {
    const definition = withRawReplies(service)
    const handlers = Object.entries(methods)
      .filter(([operation]) => Object.hasOwn(service, operation))
      .map(([operation, rpc]) => {
        const encode = (service[operation] as Definition).responseSerialize
        return [operation, handler({ operation, rpc, encode })]
      })
    server.addService(definition, Object.fromEntries(handlers))
  }

  // Connections are accepted here, and not by gRPC, so that a fault can reset the right one.
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
  const listener = createServer((socket) => {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`
    sockets.set(peer, socket)
    socket.on("close", () => sockets.delete(peer))
    injector.injectConnection(socket)
  })
  listener.listen(options.port ?? 0, HOST)
  await once(listener, "listening")
  const { port } = listener.address() as AddressInfo

  store.createRing(RING)
  let made = 0
  function createKey(keyOptions: GcpKeyOptions = {}): string {
    made++
    return store.createKey(`${RING}/cryptoKeys/${keyOptions.id ?? `key-${made}`}`, {
      purpose: keyOptions.purpose ?? SYMMETRIC,
      protectionLevel: keyOptions.protectionLevel ?? "SOFTWARE",
      labels: {},
      rotationPeriodSeconds: undefined,
      withoutVersion: false,
    }).name
  }
  function decoy(): string {
    const name = `${RING}/cryptoKeys/decoy`
    return store.keys.has(name) ? name : createKey({ id: "decoy" })
  }

  return {
    url: `http://${HOST}:${port}`,
    port,
    parent: RING.split("/keyRings/", 1)[0] as string,
    calls,
    clientOptions: () => ({
      apiEndpoint: HOST,
      port,
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
    inject: (fault, injectOptions) => plan.inject(fault, injectOptions),
    openConnections: () => inFlight,
    async close() {
      closing.abort()
      server.forceShutdown()
      for (const socket of sockets.values()) socket.destroy()
      listener.close()
      await once(listener, "close")
    },
  }
}

/** `google.iam.v1`: which of the asked permissions there are; for a key that does not exist, none and no error. */
function testIamPermissions(store: KeyStore, iam: Iam): Rpc {
  return {
    permission: undefined,
    resource: (request) => (request as TestIamPermissionsRequest).resource,
    answer(request) {
      const { resource, permissions } = request as TestIamPermissionsRequest
      const known = store.keys.has(resource) || store.rings.has(resource)
      return {
        permissions: known ? permissions.filter((permission) => iam.grants(permission, resource)) : [],
      }
    },
  }
}

/** Encrypt and the rest answer for the other key; Decrypt, which would refuse, gets another plaintext later. */
function redirect(operation: string, request: object, name: string): object {
  return operation === "Decrypt" ? request : { ...request, name }
}

/** The service, except that a reply that is bytes already goes out as it is. */
function withRawReplies(service: grpc.ServiceDefinition): grpc.ServiceDefinition {
  return Object.fromEntries(
    Object.entries(service).map(([operation, method]) => {
      const responseSerialize = (reply: object) =>
        Buffer.isBuffer(reply) ? reply : method.responseSerialize(reply)
      return [operation, { ...method, responseSerialize }]
    }),
  )
}

/** Fires when the caller cancels, its deadline passes, its connection goes, or the emulator closes. */
function cancellation(call: Call, closing: AbortSignal): AbortSignal {
  const controller = new AbortController()
  call.on("cancelled", () => controller.abort())
  return AbortSignal.any([controller.signal, closing])
}

async function aborted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, "abort")
  throw signal.reason
}

function apiOff(project: string): RpcError {
  return new RpcError(
    "PERMISSION_DENIED",
    `Cloud Key Management Service (KMS) API has not been used in project ${project} before or it is disabled.`,
    [
      {
        type: "ErrorInfo",
        reason: "SERVICE_DISABLED",
        domain: "googleapis.com",
        metadata: { service: "cloudkms.googleapis.com", consumer: `projects/${project}` },
      },
    ],
  )
}

type Call = grpc.ServerUnaryCall<object, object>
type Definition = grpc.ServiceDefinition[string]
type Method = {
  readonly operation: string
  readonly rpc: Rpc
  readonly encode: (reply: object) => Buffer
}
type TestIamPermissionsRequest = { readonly resource: string; readonly permissions: readonly string[] }

const HOST = "127.0.0.1"
const PROJECT = "keyfold-emulator"
const RING = `projects/${PROJECT}/locations/europe-west3/keyRings/keyfold`
