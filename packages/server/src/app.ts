import { createHash, randomUUID } from "node:crypto"
import { type Keyfold, KeyfoldError } from "@keyfold/core"
import type { Details, Vault } from "@keyfold/vault"
import { type Context, Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import type { ContentfulStatusCode } from "hono/utils/http-status"
import { type ApiKey, findApiKey } from "./api-key.ts"
import { failureOf, RequestError } from "./failure.ts"
import { type IdempotentAnswer, IdempotentAnswers } from "./idempotency.ts"
import {
  bodyOf,
  createBody,
  dataKeyBody,
  decryptBody,
  deleteQuery,
  listQuery,
  queryOf,
  rekeyBody,
  updateBody,
} from "./requests.ts"

export type ServerOptions = {
  readonly vault: Vault
  /** Serves the data keys; the same one that the vault uses. */
  readonly keyfold: Keyfold
  /** Who may call. */
  readonly apiKeys: readonly ApiKey[]
  /** Named in answers. */
  readonly environmentId: string
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

type Env = { Variables: { requestId: string; apiKey: ApiKey } }

/** The eleven endpoints of WorkOS Vault's public contract under /vault/v1, and /healthz. */
export function createApp(options: ServerOptions): Hono<Env> {
  const { vault, keyfold, apiKeys, environmentId, onRequest, onError } = options
  const app = new Hono<Env>()
  const answers = new IdempotentAnswers()

  app.use(async (context, next) => {
    const startedAt = performance.now()
    const requestId = randomUUID()
    context.set("requestId", requestId)
    context.header("X-Request-ID", requestId)
    context.header("Cache-Control", "no-store")
    await next()
    onRequest?.({
      requestId,
      method: context.req.method,
      route: context.req.routePath,
      status: context.res.status,
      durationMs: performance.now() - startedAt,
      apiKeyId: (context.get("apiKey") as ApiKey | undefined)?.id,
    })
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

  app.use("/vault/*", async (context, next) => {
    const apiKey = findApiKey(apiKeys, context.req.header("authorization"))
    if (apiKey === undefined) {
      const message = "send an API key of this server as Authorization: Bearer sk_… (43 characters after sk_)"
      throw new RequestError(401, "unauthorized", message)
    }
    context.set("apiKey", apiKey)
    await next()
  })
  app.use(
    "/vault/*",
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: () => {
        throw new RequestError(413, "payload_too_large", "the body has at most 100 MiB")
      },
    }),
  )

  const metadata = (object: Details) => ({
    id: object.id,
    environment_id: environmentId,
    key_id: keyIdText(object.keyIds[0] as string),
    context: object.context,
    updated_at: new Date(object.updatedAt).toISOString(),
    updated_by: object.updatedBy,
    version_id: object.versionId,
  })
  const withoutValue = (object: Details) => ({ id: object.id, name: object.name, metadata: metadata(object) })
  const actorOf = (context: Context<Env>) => {
    const { id, name } = context.get("apiKey")
    return { id, name }
  }

  app.post("/vault/v1/kv", async (context) => {
    const { name, value, key_context } = await bodyOf(context, createBody, 422)
    const create = async (): Promise<IdempotentAnswer> =>
      metadata(await vault.create(name, key_context, value, actorOf(context)))
    const key = context.req.header("idempotency-key")
    if (key === undefined) return context.json(await create(), 201)
    const owner = context.get("apiKey").id
    return context.json(await answers.once(owner, key, [name, value, key_context], create), 201)
  })
  app.get("/vault/v1/kv", async (context) => {
    const { objects, before, after } = await vault.list(queryOf(context, listQuery))
    return context.json({
      data: objects.map(({ id, name, updatedAt }) => ({
        id,
        name,
        updated_at: new Date(updatedAt).toISOString(),
      })),
      list_metadata: { before: before ?? null, after: after ?? null },
    })
  })
  app.get("/vault/v1/kv/name/:name", async (context) => {
    const object = await vault.readByName(context.req.param("name"))
    return context.json({ ...withoutValue(object), value: textOf(object.value) })
  })
  app.get("/vault/v1/kv/:id", async (context) => {
    const object = await vault.read(context.req.param("id"))
    return context.json({ ...withoutValue(object), value: textOf(object.value) })
  })
  app.put("/vault/v1/kv/:id", async (context) => {
    const { value, version_check } = await bodyOf(context, updateBody, 400)
    const id = context.req.param("id")
    return context.json(
      withoutValue(await vault.update(id, value, actorOf(context), version_check ?? undefined)),
      201,
    )
  })
  app.delete("/vault/v1/kv/:id", async (context) => {
    const { version_check } = queryOf(context, deleteQuery)
    return context.json({ success: true, name: await vault.remove(context.req.param("id"), version_check) })
  })
  app.get("/vault/v1/kv/:id/metadata", async (context) =>
    context.json(withoutValue(await vault.describe(context.req.param("id")))),
  )
  app.get("/vault/v1/kv/:id/versions", async (context) => {
    const versions = await vault.versions(context.req.param("id"))
    return context.json({
      data: versions.map(({ versionId, createdAt, size }, i) => ({
        id: versionId,
        created_at: new Date(createdAt).toISOString(),
        current_version: i === 0,
        // A hash of the value would tell equal values apart from others to whoever may only describe.
        etag: versionId.replaceAll("-", ""),
        size,
      })),
      list_metadata: { before: null, after: null },
    })
  })

  app.post("/vault/v1/keys/data-key", async (context) => {
    const { context: keyContext } = await bodyOf(context, dataKeyBody, 422)
    const { key, sealed } = await keyfold.generateDataKey({ context: keyContext })
    try {
      return context.json({ ...dataKey(key, sealed), encrypted_keys: base64(sealed), context: keyContext })
    } finally {
      key.fill(0)
    }
  })
  app.post("/vault/v1/keys/decrypt", async (context) => {
    const { keys } = await bodyOf(context, decryptBody, 400)
    const { key } = await blob(keyfold.decryptDataKey(keys, { authorize: () => true }))
    try {
      return context.json(dataKey(key, keys))
    } finally {
      key.fill(0)
    }
  })
  app.post("/vault/v1/keys/rekey", async (context) => {
    const { context: newContext, encrypted_keys } = await bodyOf(context, rekeyBody, 422)
    const sealed = await blob(keyfold.rekeyDataKey(encrypted_keys, { authorize: () => true, newContext }))
    const { key } = await keyfold.decryptDataKey(sealed, { context: newContext })
    try {
      return context.json({ ...dataKey(key, sealed), encrypted_keys: base64(sealed), context: newContext })
    } finally {
      key.fill(0)
    }
  })
  return app
}

function fail(
  context: Context,
  failure: { status: number; code: string; message: string; retryAfter?: number },
): Response {
  const { status, code, message, retryAfter } = failure
  if (retryAfter !== undefined) context.header("Retry-After", String(retryAfter))
  return context.json({ error: message, message, code }, status as ContentfulStatusCode)
}

/** A blob that its sender brought and that does not open is its sender's fault. */
async function blob<T>(opening: Promise<T>): Promise<T> {
  try {
    return await opening
  } catch (error) {
    if (!(error instanceof KeyfoldError && error.code === "DECRYPTION_FAILED")) throw error
    throw new RequestError(400, "decryption_failed", "these keys do not open here, or were altered")
  }
}

/** The id says which blob it is, and nothing of the key in it. */
function dataKey(key: Uint8Array, sealed: Uint8Array): { readonly id: string; readonly data_key: string } {
  return {
    id: uuidText(createHash("sha256").update(sealed).digest("hex").slice(0, 32)),
    data_key: base64(key),
  }
}

/** The contract's values are text; what a library user wrote as bytes is given as base64. */
function textOf(value: string | Uint8Array): string {
  return typeof value === "string" ? value : base64(value)
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")
}

/** Managed key ids have 32 hex digits and are shown as a UUID, as the contract's are; a CMK's id stays. */
function keyIdText(keyId: string): string {
  return /^[0-9a-f]{32}$/.test(keyId) ? uuidText(keyId) : keyId
}

function uuidText(hex: string): string {
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5")
}

/** A value of 64 MiB, with room for what JSON has to escape. */
const MAX_BODY_BYTES = 100 * 1024 * 1024
