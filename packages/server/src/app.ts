import { randomUUID } from "node:crypto"
import type { Keyfold } from "@keyfold/core"
import { createVault, type EventSink, type Vault, type VaultStore } from "@keyfold/vault"
import { type Context, Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import type { ContentfulStatusCode } from "hono/utils/http-status"
import { RateLimiterMemory, type RateLimiterRes } from "rate-limiter-flexible"
import { type ApiKey, ApiKeyFinder } from "./api-key.ts"
import { addEventRoutes } from "./event-routes.ts"
import { type Failure, failureOf, RequestError } from "./failure.ts"
import { addKeyRoutes } from "./key-routes.ts"
import type { Metrics } from "./metrics.ts"
import { addObjectRoutes } from "./object-routes.ts"
import { openApiDocument } from "./openapi.ts"
import type { PortalOptions } from "./portal/clouds.ts"
import { portalRoutes } from "./portal/portal-routes.ts"
import { addPortalLinkRoute } from "./portal-link-routes.ts"

export type ServerOptions = {
  readonly keyfold: Keyfold
  readonly store: VaultStore
  /** Named in answers. */
  readonly environmentId: string
  /** Who may call beside the API keys in the store. */
  readonly apiKeys?: readonly ApiKey[]
  /** Requests a minute of one API key; 0 for no limit. Default 60,000. */
  readonly requestsPerMinute?: number
  /** Where events of reads go; default is the store. @see EventBuffer */
  readonly events?: EventSink
  /** Lets tenants' administrators set up their own keys, at /portal. */
  readonly portal?: PortalOptions
  /** Counts requests, and is served at /metrics. */
  readonly metrics?: Metrics
  /** Told of each request when it is answered: never a body, a name or a query. */
  readonly onRequest?: (request: AnsweredRequest) => void
  /** Told of what no answer explains (status 500), for the operator; it may hold a cause with details. */
  readonly onError?: (error: unknown, requestId: string) => void
}

export type AnsweredRequest = {
  readonly requestId: string
  readonly method: string
  /** The route's pattern, not the path, which may hold a name. */
  readonly route: string
  readonly status: number
  readonly durationMs: number
  readonly apiKeyId: string | undefined
}

/** What requests carry along. */
export type Env = { Variables: { requestId: string; apiKey: ApiKey; vault: Vault } }

/** The endpoints of WorkOS Vault's public contract under /vault/v1, /events, and what operators need. */
export function createApp(options: ServerOptions): Hono<Env> {
  const { keyfold, store, environmentId, apiKeys = [], events, portal, metrics, onRequest, onError } = options
  const app = new Hono<Env>()

  app.use(async (context, next) => {
    const startedAt = performance.now()
    const requestId = randomUUID()
    context.set("requestId", requestId)
    context.header("X-Request-ID", requestId)
    context.header("Cache-Control", "no-store")
    await next()
    const answered = {
      requestId,
      method: context.req.method,
      route: context.req.routePath,
      status: context.res.status,
      durationMs: performance.now() - startedAt,
      apiKeyId: (context.get("apiKey") as ApiKey | undefined)?.id,
    }
    metrics?.onRequest(answered)
    onRequest?.(answered)
  })
  app.onError((error, context) => {
    const failure = failureOf(error)
    if (failure.status >= 500) onError?.(error, context.get("requestId"))
    return fail(context, failure)
  })
  app.notFound((context) =>
    fail(context, { status: 404, code: "not_found", message: "there is no such endpoint" }),
  )
  app.get("/healthz", (context) => context.json({ status: "ok" }))
  app.get("/readyz", async (context) => {
    try {
      await store.byId("ready?")
    } catch (error) {
      onError?.(error, context.get("requestId"))
      throw new RequestError(503, "not_ready", "the store does not answer", 1)
    }
    return context.json({ status: "ready" })
  })
  app.get("/openapi.json", (context) => context.json(openApiDocument({ hasPortal: portal !== undefined })))
  if (metrics !== undefined) {
    app.get("/metrics", async (context) =>
      context.body(await metrics.text(), 200, { "content-type": metrics.contentType }),
    )
  }

  const finder = new ApiKeyFinder(store, apiKeys)
  const allow = limiter(options.requestsPerMinute ?? 60_000)
  const vaults = new WeakMap<ApiKey, Vault>()
  const vaultOf = (apiKey: ApiKey): Vault => {
    const known = vaults.get(apiKey)
    if (known !== undefined) return known
    const { id, name, scope } = apiKey
    const vault = createVault({
      ...{ keyfold, store, actor: { id, name }, scope: scope.context },
      ...(events !== undefined && { events }),
    })
    vaults.set(apiKey, vault)
    return vault
  }
  for (const path of ["/vault/*", "/events", "/portal-links"]) {
    app.use(path, async (context, next) => {
      const apiKey = await finder.find(context.req.header("authorization"))
      if (apiKey === undefined) {
        const message =
          "send an API key of this server as Authorization: Bearer sk_… (43 characters after sk_)"
        throw new RequestError(401, "unauthorized", message)
      }
      await allow(apiKey.id)
      context.set("apiKey", apiKey)
      context.set("vault", vaultOf(apiKey))
      await next()
    })
  }
  app.use(
    "/vault/*",
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: () => {
        throw new RequestError(413, "payload_too_large", "the body has at most 100 MiB")
      },
    }),
  )
  addObjectRoutes(app, environmentId, store)
  addKeyRoutes(app)
  addEventRoutes(app, store)
  if (portal !== undefined) {
    addPortalLinkRoute(app, store, portal)
    app.route("/portal", portalRoutes({ portal, store, events: events ?? store, onError }))
  }
  return app
}

/** Throws 429 with the time until the next minute where an API key asks too often. */
function limiter(requestsPerMinute: number): (apiKeyId: string) => Promise<void> {
  if (requestsPerMinute === 0) return async () => undefined
  const limit = new RateLimiterMemory({ points: requestsPerMinute, duration: 60 })
  return async (apiKeyId) => {
    try {
      await limit.consume(apiKeyId)
    } catch (refused) {
      const retryAfter = Math.ceil((refused as RateLimiterRes).msBeforeNext / 1000)
      const message = `this API key may send ${requestsPerMinute} requests a minute: wait for Retry-After`
      throw new RequestError(429, "rate_limited", message, retryAfter)
    }
  }
}

function fail(context: Context, { status, code, message, retryAfter }: Failure): Response {
  if (retryAfter !== undefined) context.header("Retry-After", String(retryAfter))
  return context.json({ error: message, message, code }, status as ContentfulStatusCode)
}

/** A value of 64 MiB, with room for what JSON has to escape. */
const MAX_BODY_BYTES = 100 * 1024 * 1024
