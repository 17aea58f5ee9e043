import { type EventType, linkEvents, readEvent, type VaultEvent, type VaultStore } from "@keyfold/vault"
import type { Hono } from "hono"
import { vaultFor } from "./allowed.ts"
import type { Env } from "./app.ts"
import { RequestError } from "./failure.ts"
import { eventsQuery, queryOf } from "./requests.ts"
import { isoTime, keyIdText } from "./wire.ts"

/** GET /events, of everything in this environment: only for an API key that no context binds. */
export function addEventRoutes(app: Hono<Env>, store: VaultStore): void {
  app.get("/events", async (context) => {
    vaultFor(context, "events")
    if (Object.keys(context.get("apiKey").scope.context).length > 0) {
      throw new RequestError(403, "forbidden", "events are for API keys whose scope has no context")
    }
    const { after, before, limit, order, ...query } = queryOf(context, eventsQuery)
    await linkEvents(store)
    const cursor = after ?? before
    const position = cursor === undefined ? undefined : await store.eventPosition(cursor)
    if (cursor !== undefined && position === undefined) {
      throw new RequestError(400, "invalid_request", "after and before are ids of events")
    }
    const backward = before !== undefined
    // Towards an earlier page the events are taken the other way round, nearest to the cursor first.
    const upward = (order === "asc") !== backward
    const rows = await store.events({
      ...query,
      types: query.types ?? CONTRACT_TYPES,
      limit: limit + 1,
      order: upward ? "asc" : "desc",
      ...(upward ? { above: position } : { below: position }),
    })
    const page = rows.slice(0, limit).map(readEvent)
    if (backward) page.reverse()
    const more = rows.length > limit
    return context.json({
      object: "list",
      data: page.map(wireEvent),
      list_metadata: {
        before: (backward ? more : after !== undefined) ? (page[0]?.id ?? null) : null,
        after: backward || more ? (page.at(-1)?.id ?? null) : null,
      },
    })
  })
}

/** An event as the contract writes it. */
export function wireEvent({ id, type, at, actor, ...subject }: VaultEvent): Record<string, unknown> {
  const { name, context, organizationId, provider, verified, keyIds = [] } = subject
  const ids = keyIds.map(keyIdText)
  const byok = type.startsWith("vault.byok_key.")
  return {
    object: "event",
    id,
    event: type,
    created_at: isoTime(at),
    data: {
      ...(!byok && { actor_id: actor.id, actor_source: actor.source, actor_name: actor.name }),
      ...(byok && { organization_id: organizationId, key_provider: provider }),
      ...(verified !== undefined && { verified }),
      ...(name !== undefined && { [type.startsWith("vault.kek.") ? "key_name" : "kv_name"]: name }),
      ...(type === "vault.dek.read" ? { key_ids: ids } : ids[0] !== undefined && { key_id: ids[0] }),
      ...(context !== undefined && WITH_CONTEXT.has(type) && { key_context: context }),
    },
    context: { actor },
  }
}

const WITH_CONTEXT: ReadonlySet<EventType> = new Set([
  "vault.data.created",
  "vault.data.updated",
  "vault.dek.read",
])
/** What is given unless other types are asked for: SDKs know no others. */
export const CONTRACT_TYPES: readonly EventType[] = [
  "vault.data.created",
  "vault.data.updated",
  "vault.data.read",
  "vault.data.deleted",
  "vault.metadata.read",
  "vault.names.listed",
  "vault.kek.created",
  "vault.kek.deleted",
  "vault.dek.read",
  "vault.dek.decrypted",
  "vault.byok_key.verification_completed",
  "vault.byok_key.deleted",
]
/** What the contract does not have. */
export const OWN_TYPES: readonly EventType[] = [
  "vault.data.undeleted",
  "vault.data.rewrapped",
  "vault.data.purged",
]
