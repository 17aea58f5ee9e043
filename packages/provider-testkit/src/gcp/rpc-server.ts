import { once } from "node:events"
import { type AddressInfo, createServer, type Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { grpc } from "google-gax"
import type { FaultPlan, RecordedCall } from "../emulator.ts"
import { damageReply, damageRequest, refusal } from "./faults.ts"
import { keyOf } from "./iam.ts"
import { iamPolicy, keyManagement } from "./protos.ts"
import type { Rpc } from "./rpc.ts"
import { RpcError } from "./rpc-error.ts"

/** What the server asks for each call that gets through to the service. */
export type Service = {
  readonly rpcs: Readonly<Record<string, Rpc>>
  /** Answers a call, or throws an RpcError. */
  readonly answer: (rpc: Rpc, request: object) => object
  /** The key in whose place `other-key` puts the one that was asked for. */
  readonly decoy: () => string
  readonly faults: FaultPlan
  /** Where each call is noted when it ends. */
  readonly calls: RecordedCall[]
}

export type RpcServer = {
  readonly port: number
  /** Calls in flight. */
  openCalls(): number
  close(): Promise<void>
}

/** Serves KeyManagementService and IAMPolicy over gRPC without TLS; port 0 takes any free one. */
export async function startRpcServer(service: Service, host: string, listenPort: number): Promise<RpcServer> {
  const sockets = new Map<string, Socket>()
  const closing = new AbortController()
  let open = 0

  async function serve({ operation, rpc, encode }: Method, call: Call, ended: AbortSignal): Promise<object> {
    let request = call.request
    const resource = rpc.resource(request)
    const faults = service.faults.take(operation, keyOf(resource))
    for (const fault of faults) {
      if (fault.kind === "latency") await sleep(fault.ms, undefined, { signal: ended })
      if (fault.kind === "reset") sockets.get(call.getPeer())?.resetAndDestroy()
      if (fault.kind === "hang" || fault.kind === "reset") await forever(ended)
      const error = refusal(fault, rpc.permission, resource)
      if (error !== undefined) throw error
      if (fault.kind === "crc" && fault.where === "request") request = damageRequest(request)
      // Decrypt under another key would refuse: its reply is changed instead.
      if (fault.kind === "other-key" && operation !== "Decrypt")
        request = { ...request, name: service.decoy() }
    }
    const reply = service.answer(rpc, request)
    return faults.reduce((damaged, fault) => damageReply(fault, damaged, encode), reply)
  }

  function handler(method: Method): grpc.handleUnaryCall<object, object> {
    return async (call, callback) => {
      const { operation, rpc } = method
      const record = { operation, keyId: keyOf(rpc.resource(call.request)), at: Date.now() }
      const ended = endOf(call, closing.signal)
      open++
      try {
        const reply = await serve(method, call, ended)
        service.calls.push({ ...record, ok: true })
        callback(null, reply)
      } catch (error) {
        const failure = toRpcError(error, ended)
        service.calls.push({ ...record, ok: false, error: failure.status })
        callback(failure)
      } finally {
        open--
      }
    }
  }

  const server = new grpc.Server()
  for (const definition of [keyManagement, iamPolicy]) {
    const handlers: grpc.UntypedServiceImplementation = {}
    for (const [operation, { responseSerialize }] of Object.entries(definition)) {
      const rpc = service.rpcs[operation]
      if (rpc !== undefined) handlers[operation] = handler({ operation, rpc, encode: responseSerialize })
    }
    server.addService(withRawReplies(definition), handlers)
  }

  // Connections are accepted here, and not by gRPC, so that a fault can reset the right one.
  const injector = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
  const listener = createServer((socket) => {
    const peer = `${socket.remoteAddress}:${socket.remotePort}`
    sockets.set(peer, socket)
    socket.on("close", () => sockets.delete(peer))
    injector.injectConnection(socket)
  })
  listener.listen(listenPort, host)
  await once(listener, "listening")
  const { port } = listener.address() as AddressInfo

  return {
    port,
    openCalls: () => open,
    async close() {
      closing.abort()
      server.forceShutdown()
      for (const socket of sockets.values()) socket.destroy()
      listener.close()
      await once(listener, "close")
    },
  }
}

/** The service, except that a reply that is bytes already goes out as it is. */
function withRawReplies(definition: grpc.ServiceDefinition): grpc.ServiceDefinition {
  return Object.fromEntries(
    Object.entries(definition).map(([operation, method]) => {
      const responseSerialize = (reply: object) =>
        Buffer.isBuffer(reply) ? reply : method.responseSerialize(reply)
      return [operation, { ...method, responseSerialize }]
    }),
  )
}

/** Fires when the caller cancels, its deadline passes, its connection goes, or the server closes. */
function endOf(call: Call, closing: AbortSignal): AbortSignal {
  const cancelled = new AbortController()
  call.on("cancelled", () => cancelled.abort())
  return AbortSignal.any([cancelled.signal, closing])
}

/** Never resolves. */
async function forever(ended: AbortSignal): Promise<never> {
  if (!ended.aborted) await once(ended, "abort")
  throw ended.reason
}

function toRpcError(error: unknown, ended: AbortSignal): RpcError {
  if (error instanceof RpcError) return error
  return ended.aborted
    ? new RpcError("CANCELLED", "The call was cancelled.")
    : new RpcError("INTERNAL", `The emulator failed: ${error}`)
}

type Call = grpc.ServerUnaryCall<object, object>
type Method = {
  readonly operation: string
  readonly rpc: Rpc
  readonly encode: (reply: object) => Buffer
}
