import { once } from "node:events"
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http"
import { createServer as createTlsServer } from "node:https"
import type { AddressInfo, Socket } from "node:net"
import { setTimeout as sleep } from "node:timers/promises"
import { TLSSocket } from "node:tls"
import type { Fault } from "./emulator.ts"

/** One HTTP request to an emulator, read to its end. */
export type HttpCall = {
  readonly method: string
  /** Path and query, as sent. */
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Uint8Array
  /** Fires when the caller hangs up or the emulator closes. */
  readonly gone: AbortSignal
  /** Resets the connection. */
  reset(): void
}

export type HttpReply = {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string | Uint8Array
  /** Sends half of the body and ends the connection. */
  readonly truncated?: boolean
}

export type HttpService = {
  readonly port: number
  /** Requests that have neither been answered nor given up. */
  openConnections(): number
  close(): Promise<void>
}

export type HttpServiceOptions = {
  /** 0 takes any free port. */
  readonly port: number
  /** PEM; plain HTTP without it. */
  readonly tls?: { readonly key: string; readonly cert: string }
  /** Answers a call. It may reject once the caller is gone. */
  readonly answer: (call: HttpCall) => Promise<HttpReply>
}

/** An HTTP/1.1 server on 127.0.0.1 for emulators whose cloud speaks it. */
export async function startHttpService({ port, tls, answer }: HttpServiceOptions): Promise<HttpService> {
  const closing = new AbortController()
  let open = 0

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    open++
    const hungUp = new AbortController()
    response.on("close", () => {
      open--
      hungUp.abort()
    })
    try {
      const reply = await answer({
        method: request.method ?? "",
        path: request.url ?? "",
        headers: request.headers,
        body: await readBody(request),
        gone: AbortSignal.any([hungUp.signal, closing.signal]),
        reset: () => reset(request.socket),
      })
      send(response, reply)
    } catch (error) {
      if (hungUp.signal.aborted || closing.signal.aborted) return
      send(response, { status: 500, headers: TEXT, body: `the emulator itself failed: ${error}` })
    }
  }

  const server = tls === undefined ? createServer() : createTlsServer(tls)
  server.on("request", (request, response) => void serve(request, response))
  server.keepAliveTimeout = KEEP_ALIVE_MS
  server.listen(port, "127.0.0.1")
  await once(server, "listening")
  return {
    port: (server.address() as AddressInfo).port,
    openConnections: () => open,
    async close() {
      closing.abort()
      server.close()
      server.closeAllConnections()
      await once(server, "close")
    },
  }
}

/** Lives through the faults that work on a connection; the others are for the emulator to answer. */
export async function transportFaults(faults: readonly Fault[], call: HttpCall): Promise<void> {
  for (const fault of faults) {
    if (fault.kind === "latency") await sleep(fault.ms, undefined, { signal: call.gone })
    if (fault.kind === "reset") call.reset()
    if (fault.kind === "hang" || fault.kind === "reset") await gone(call.gone)
  }
}

/** The reply as faults make the caller see it. */
export function damage(faults: readonly Fault[], reply: HttpReply): HttpReply {
  let damaged = reply
  for (const { kind } of faults) {
    if (kind === "truncated") damaged = { ...damaged, truncated: true }
    if (kind === "garbage") damaged = { ...GARBAGE, headers: { "content-type": "text/html" } }
  }
  return damaged
}

async function gone(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await once(signal, "abort")
  throw signal.reason
}

/** Node can reset plain TCP only; a TLS client sees the same error when its connection just ends. */
function reset(socket: Socket): void {
  if (socket instanceof TLSSocket) socket.destroy()
  else socket.resetAndDestroy()
}

async function readBody(request: IncomingMessage): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  let length = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length
    if (length > MAX_BODY_BYTES) throw new RangeError("the request is too long")
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function send(response: ServerResponse, { status, headers, body, truncated = false }: HttpReply): void {
  const bytes = Buffer.from(body)
  response.writeHead(status, { ...headers, "content-length": bytes.length })
  if (truncated) {
    response.write(bytes.subarray(0, bytes.length >> 1), () => response.destroy())
  } else {
    response.end(bytes)
  }
}

/** Longer than a test: a server that closes an idle connection just as it is used again looks like an outage. */
const KEEP_ALIVE_MS = 120_000
/** The clouds' own limits are lower. */
const MAX_BODY_BYTES = 2 ** 20

const TEXT = { "content-type": "text/plain" }
const GARBAGE = { status: 200, body: "<!doctype html><title>Welcome</title>" }
