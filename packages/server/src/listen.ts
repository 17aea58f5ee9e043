import { createServer as createTlsServer } from "node:https"
import type { AddressInfo } from "node:net"
import { serve } from "@hono/node-server"
import { KeyfoldError } from "@keyfold/core"
import type { Hono } from "hono"

export type ListenOptions = {
  /** Default 127.0.0.1. */
  readonly host?: string
  /** 0 takes a free one. Default 4000. */
  readonly port?: number
  /** PEM; without it the server speaks plain HTTP. */
  readonly tls?: { readonly cert: string; readonly key: string }
  /** Allows plain HTTP at an address that other machines reach, for a proxy in front. */
  readonly insecureHttp?: boolean
}

export type Listening = {
  readonly url: string
  readonly port: number
  /** Takes no more requests, and resolves when those under way are answered. */
  readonly close: () => Promise<void>
}

/**
 * Serves an app. @throws KeyfoldError `INVALID_ARGUMENT` where the address would show API keys and values to others, or
 * cannot be had
 */
export async function listen(
  // biome-ignore lint/suspicious/noExplicitAny: whatever variables the app keeps are its own
  app: Hono<any>,
  { host = "127.0.0.1", port = 4000, tls, insecureHttp = false }: ListenOptions = {},
): Promise<Listening> {
  if (tls === undefined && !insecureHttp && !LOOPBACK.test(host)) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `plain HTTP at ${host} would show API keys and values to the network: give a certificate, or allow it with --insecure-http`,
    )
  }
  const underWay = new Set<Promise<Response>>()
  const fetch: typeof app.fetch = (...request) => {
    const answer = Promise.resolve(app.fetch(...request))
    const forget = () => underWay.delete(answer)
    underWay.add(answer)
    answer.then(forget, forget)
    return answer
  }
  return new Promise((resolve, reject) => {
    const server = serve(
      {
        fetch,
        hostname: host,
        port,
        ...(tls !== undefined && { createServer: createTlsServer, serverOptions: tls }),
      },
      (info: AddressInfo) => {
        const name = host.includes(":") ? `[${host}]` : host
        resolve({
          url: `${tls === undefined ? "http" : "https"}://${name}:${info.port}`,
          port: info.port,
          async close() {
            await new Promise<void>((done) => void server.close(() => done()))
            // A request whose client has gone has no connection any more, and may still be at work.
            await Promise.allSettled(underWay)
          },
        })
      },
    )
    server.on("error", (cause: NodeJS.ErrnoException) => {
      const why = WHY[cause.code ?? ""] ?? "cannot be had"
      reject(
        new KeyfoldError("INVALID_ARGUMENT", `port ${port} at ${host} ${why}: take another one`, { cause }),
      )
    })
  })
}

const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|::1|localhost)$/
const WHY: Readonly<Record<string, string>> = { EADDRINUSE: "is in use", EACCES: "needs more rights" }
