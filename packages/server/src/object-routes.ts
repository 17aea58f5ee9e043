import { type Details, VaultError, type VaultStore } from "@keyfold/vault"
import type { Hono } from "hono"
import { vaultFor } from "./allowed.ts"
import type { Env } from "./app.ts"
import { RequestError } from "./failure.ts"
import { idOfKey } from "./idempotency.ts"
import { bodyOf, createBody, deleteQuery, listQuery, queryOf, updateBody } from "./requests.ts"
import { base64, isoTime, keyIdText } from "./wire.ts"

/** The eight endpoints under /vault/v1/kv. */
export function addObjectRoutes(app: Hono<Env>, environmentId: string, store: VaultStore): void {
  const metadata = (object: Details) => ({
    id: object.id,
    environment_id: environmentId,
    key_id: keyIdText(object.keyIds[0] as string),
    context: object.context,
    updated_at: isoTime(object.updatedAt),
    updated_by: object.updatedBy,
    version_id: object.versionId,
  })
  const withoutValue = (object: Details) => ({ id: object.id, name: object.name, metadata: metadata(object) })

  app.post("/vault/v1/kv", async (context) => {
    const vault = vaultFor(context, "write")
    const { name, value, key_context } = await bodyOf(context, createBody, 422)
    const key = context.req.header("idempotency-key")
    if (key === undefined) return context.json(metadata(await vault.create(name, key_context, value)), 201)
    const id = await idOfKey(store, context.get("apiKey").id, key)
    const created = await vault.createOnce(id, name, key_context, value).catch((error: unknown) => {
      const isOther = error instanceof VaultError && error.code === "ID_TAKEN"
      throw isOther ? new RequestError(422, "idempotency_key_reused", REUSED) : error
    })
    return context.json(metadata(created), 201)
  })
  app.get("/vault/v1/kv", async (context) => {
    const { objects, before, after } = await vaultFor(context, "list").list(queryOf(context, listQuery))
    return context.json({
      data: objects.map(({ id, name, updatedAt }) => ({ id, name, updated_at: isoTime(updatedAt) })),
      list_metadata: { before: before ?? null, after: after ?? null },
    })
  })
  app.get("/vault/v1/kv/name/:name", async (context) => {
    const object = await vaultFor(context, "read").readByName(context.req.param("name"))
    return context.json({ ...withoutValue(object), value: textOf(object.value) })
  })
  app.get("/vault/v1/kv/:id", async (context) => {
    const object = await vaultFor(context, "read").read(context.req.param("id"))
    return context.json({ ...withoutValue(object), value: textOf(object.value) })
  })
  app.put("/vault/v1/kv/:id", async (context) => {
    const vault = vaultFor(context, "write")
    const { value, version_check } = await bodyOf(context, updateBody, 400)
    const updated = await vault.update(context.req.param("id"), value, version_check ?? undefined)
    return context.json(withoutValue(updated), 201)
  })
  app.delete("/vault/v1/kv/:id", async (context) => {
    const vault = vaultFor(context, "write")
    const { version_check } = queryOf(context, deleteQuery)
    return context.json({ success: true, name: await vault.remove(context.req.param("id"), version_check) })
  })
  app.get("/vault/v1/kv/:id/metadata", async (context) =>
    context.json(withoutValue(await vaultFor(context, "list").describe(context.req.param("id")))),
  )
  app.get("/vault/v1/kv/:id/versions", async (context) => {
    const versions = await vaultFor(context, "list").versions(context.req.param("id"))
    return context.json({
      data: versions.map(({ versionId, createdAt, size }, i) => ({
        id: versionId,
        created_at: isoTime(createdAt),
        current_version: i === 0,
        // A hash of the value would tell equal values apart from others to whoever may only describe.
        etag: versionId.replaceAll("-", ""),
        size,
      })),
      list_metadata: { before: null, after: null },
    })
  })
}

/** The contract's values are text; what a library user wrote as bytes is given as base64. */
function textOf(value: string | Uint8Array): string {
  return typeof value === "string" ? value : base64(value)
}

const REUSED = "this idempotency key was used for another request"
