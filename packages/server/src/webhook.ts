import { createHmac, randomBytes, randomUUID } from "node:crypto"
import { type Keyfold, KeyfoldError } from "@keyfold/core"
import { type EventType, linkEvents, type VaultEvent, type VaultStore, type WebhookRow } from "@keyfold/vault"
import { CONTRACT_TYPES, OWN_TYPES, wireEvent } from "./event-routes.ts"

export type WebhookOptions = {
  /** Where events are sent: https, or http at this machine. */
  readonly url: string
  /** Which; those of WorkOS Vault's contract unless told. */
  readonly types?: readonly string[] | undefined
  /** Leaves out key contexts, organizations, and names of objects and keys. */
  readonly withoutContext?: boolean | undefined
}

/** A webhook as its operator sees it. */
export type Webhook = {
  readonly id: string
  readonly url: string
  readonly types: readonly string[]
  readonly withoutContext: boolean
  readonly createdAt: Date
  /** `retrying` since a try failed; `failing` once no try is made any more, until it is resumed. */
  readonly state: "delivering" | "retrying" | "failing"
  /** What the last failed try met, and since when they fail. */
  readonly failure: { readonly reason: string; readonly since: Date } | undefined
  /** How many events of any type it is behind. */
  readonly behind: number
}

/**
 * Makes a webhook that gets what happens from now on. The secret, with which its receiver verifies signatures, is to be
 * told this once: the store has it encrypted under keyfold's keys, bound to the webhook's id and settings.
 * @throws KeyfoldError `INVALID_ARGUMENT`, `STORE_…`, and those of KEKs
 */
export async function createWebhook(
  store: VaultStore,
  keyfold: Keyfold,
  { url, types = CONTRACT_TYPES, withoutContext = false }: WebhookOptions,
): Promise<{ readonly id: string; readonly secret: string }> {
  const unknown = types.find((type) => ![...CONTRACT_TYPES, ...OWN_TYPES].includes(type as EventType))
  if (unknown !== undefined || types.length === 0) {
    throw new KeyfoldError("INVALID_ARGUMENT", `types of events are some of: ${CONTRACT_TYPES.join(", ")}`)
  }
  if ((await store.webhooks()).length >= MAX_WEBHOOKS) {
    throw new KeyfoldError("INVALID_ARGUMENT", `there are ${MAX_WEBHOOKS} webhooks at most: remove one`)
  }
  const id = `webhook_${randomUUID()}`
  const settings = JSON.stringify({ url: checkedUrl(url), types, withoutContext } satisfies Settings)
  const secret = `whsec_${randomBytes(32).toString("base64url")}`
  const sealed = await keyfold.encrypt(secret, { context: SECRET_CONTEXT, aad: aadOf({ id, settings }) })
  await linkEvents(store)
  const progress = { position: (await store.lastLink())?.position ?? 0, ...FRESH }
  await store.putWebhook({ id, settings, secret: sealed, createdAt: Date.now(), change: 1, ...progress })
  return { id, secret }
}

/** Every webhook, the oldest first. @throws KeyfoldError `STORE_…` */
export async function listWebhooks(store: VaultStore): Promise<readonly Webhook[]> {
  const last = (await store.lastLink())?.position ?? 0
  return (await store.webhooks()).map((row) => ({
    id: row.id,
    ...settingsOf(row),
    createdAt: new Date(row.createdAt),
    state: stateOf(row),
    failure: row.failures === 0 ? undefined : { reason: row.failure, since: new Date(row.failingSince) },
    behind: Math.max(0, last - row.position),
  }))
}

/** Tries again at once, from the event that failed; says whether there is such a webhook. @throws KeyfoldError `STORE_…` */
export async function resumeWebhook(store: VaultStore, id: string): Promise<boolean> {
  for (;;) {
    const row = (await store.webhooks()).find((each) => each.id === id)
    if (row === undefined) return false
    // One without a failure may be at work, and would then send an event twice.
    if (row.failures === 0 || (await store.moveWebhook(id, row.change, { position: row.position, ...FRESH })))
      return true
  }
}

export function stateOf({ failures, dueAt }: WebhookRow): Webhook["state"] {
  if (failures === 0) return "delivering"
  return dueAt === NEVER ? "failing" : "retrying"
}

export function settingsOf({ settings }: Pick<WebhookRow, "settings">): Settings {
  try {
    return JSON.parse(settings) as Settings
  } catch {
    throw new KeyfoldError(
      "STORE_CORRUPT",
      "the settings of a webhook are damaged: remove it and add another",
    )
  }
}

/** The secret, to be wiped. @throws KeyfoldError `DECRYPTION_FAILED` where anything about the row was changed */
export async function openSecret(keyfold: Keyfold, row: WebhookRow): Promise<Uint8Array> {
  const { plaintext } = await keyfold.decrypt(row.secret, { context: SECRET_CONTEXT, aad: aadOf(row) })
  return plaintext
}

/** An event as `GET /events` gives it, or with less in it. */
export function webhookBody(event: VaultEvent, { withoutContext }: Pick<Settings, "withoutContext">): string {
  const { name, context, organizationId, ...rest } = event
  return JSON.stringify(wireEvent(withoutContext ? rest : event))
}

/** The header `WorkOS-Signature` for a body sent at this time, in milliseconds since 1970. */
export function signatureOf(secret: Uint8Array, body: string, at: number): string {
  return `t=${at}, v1=${createHmac("sha256", secret).update(`${at}.${body}`).digest("hex")}`
}

type Settings = { readonly url: string; readonly types: readonly string[]; readonly withoutContext: boolean }

function checkedUrl(text: string): string {
  const url = URL.parse(text)
  const allowed =
    url !== null &&
    text.length <= MAX_URL &&
    (url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.test(url.hostname)))
  // Not quoted: its path or query may be a secret.
  if (!allowed || url.username !== "" || url.password !== "" || url.hash !== "") {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "a webhook's URL is https, or http at this machine, without user, password and fragment",
    )
  }
  return url.href
}

/** Who may write rows but has no key can point a secret to no other address. */
function aadOf({ id, settings }: Pick<WebhookRow, "id" | "settings">): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(["keyfold webhook", id, settings]))
}

/** The server's own. */
const SECRET_CONTEXT = { keyfold_server: "webhooks" }
const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|\[::1\]|localhost)$/
/** UTF-16 units; more than any receiver's address needs. */
const MAX_URL = 2000
/** They share the store and the process of a server. */
const MAX_WEBHOOKS = 100
/** The time of a try that is not made. */
export const NEVER = Number.MAX_SAFE_INTEGER
/** Progress without a failure that can go on now. */
export const FRESH = { dueAt: 0, failures: 0, failingSince: 0, failure: "" } as const
