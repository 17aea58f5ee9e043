import { createHash, randomBytes } from "node:crypto"
import { bindingFor, ownerOf } from "@keyfold/byok"
import { type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import type { VaultStore } from "@keyfold/vault"
import { PROVIDERS, type ProviderId } from "./clouds.ts"

/** Whose key a link or a session is about. */
export type PortalTenant = {
  /** The pairs that the tenant's key is for. */
  readonly match: KeyContext
  readonly owner: string
  /** Clouds to choose from; all that the portal has where there is none. */
  readonly providers: readonly ProviderId[]
  /** Where the key must be. */
  readonly expectedRegion?: string | undefined
  /** AWS: this tenant's alone, and the same in every link of it. */
  readonly externalId: string
}

export type PortalLinkOptions = {
  readonly match: KeyContext
  /** Whose key it is to be; that of the match's binding, or the match itself, unless told. */
  readonly owner?: string | undefined
  readonly providers?: readonly ProviderId[] | undefined
  readonly expectedRegion?: string | undefined
  /** Default 7 days, at most 30, in milliseconds. */
  readonly expiresInMs?: number | undefined
}

/** A link before an address stands in front of it. `path` is to be told to the administrator alone, this once. */
export type PortalLink = { readonly path: string; readonly expiresAt: Date }

/**
 * Makes a link that opens the portal once, for one tenant. The store keeps its hash.
 * @param existing every binding there is
 * @throws KeyfoldError `INVALID_ARGUMENT`, `INVALID_CONTEXT`, `STORE_…`
 */
export async function createPortalLink(
  store: VaultStore,
  { match, owner, providers = [], expectedRegion, expiresInMs = DEFAULT_LINK_MS }: PortalLinkOptions,
  existing: readonly Binding[],
): Promise<PortalLink> {
  const pairs = parseContext(match).object
  if (!Number.isInteger(expiresInMs) || expiresInMs < MIN_LINK_MS || expiresInMs > MAX_LINK_MS) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a link lasts from a minute to 30 days")
  }
  if (!providers.every((each) => PROVIDERS.includes(each))) {
    throw new KeyfoldError("INVALID_ARGUMENT", `the providers of a link are some of ${PROVIDERS.join(", ")}`)
  }
  const bound = bindingFor(pairs, existing)
  if (owner !== undefined && bound !== undefined && owner !== bound.owner) {
    throw new KeyfoldError("INVALID_ARGUMENT", "the owner of a binding never changes")
  }
  const whose = owner ?? bound?.owner ?? ownerOf(pairs)
  const externalId = await externalIdOf(store, whose)
  const tenant: PortalTenant = { match: pairs, owner: whose, providers, expectedRegion, externalId }
  const text = randomBytes(32).toString("base64url")
  const expiresAt = Date.now() + expiresInMs
  await keep(store, "portal-link", text, tenant, expiresAt)
  return { path: `/portal/open/${text}`, expiresAt: new Date(expiresAt) }
}

/**
 * Makes a link that opens the operator's overview once, within an hour unless told, a day at most.
 * @throws KeyfoldError `INVALID_ARGUMENT`, `STORE_…`
 */
export async function createOperatorLink(
  store: VaultStore,
  { expiresInMs = 3_600_000 }: Pick<PortalLinkOptions, "expiresInMs"> = {},
): Promise<PortalLink> {
  if (!Number.isInteger(expiresInMs) || expiresInMs < MIN_LINK_MS || expiresInMs > MAX_OPERATOR_LINK_MS) {
    throw new KeyfoldError("INVALID_ARGUMENT", "an operator's link lasts from a minute to a day")
  }
  const text = randomBytes(32).toString("base64url")
  const expiresAt = Date.now() + expiresInMs
  await keep(store, "operator-link", text, {}, expiresAt)
  return { path: `/portal/operator/open/${text}`, expiresAt: new Date(expiresAt) }
}

/** Who is let in: a link of one kind opens no visit of the other. */
export type Visitor = "portal" | "operator"

/** Whether a link would open now. */
export async function isGoodLink(store: VaultStore, visitor: Visitor, text: string): Promise<boolean> {
  return TEXT.test(text) && (await store.findToken(`${visitor}-link`, hashOf(text), Date.now())) !== undefined
}

/** Exchanges a link for a session, and ends it: of several that try, one gets it. */
export async function openLink(
  store: VaultStore,
  visitor: Visitor,
  text: string,
): Promise<string | undefined> {
  if (!TEXT.test(text)) return undefined
  const link = await store.takeToken(`${visitor}-link`, hashOf(text), Date.now())
  if (link === undefined) return undefined
  const session = randomBytes(32).toString("base64url")
  await keep(store, `${visitor}-session`, session, JSON.parse(link.content), Date.now() + SESSION_MS)
  return session
}

/** Whose session it is, while it lasts. */
export async function findSession(
  store: VaultStore,
  text: string | undefined,
): Promise<PortalTenant | undefined> {
  const session = await findToken(store, "portal", text)
  return session && tenantOf(session.content)
}

export async function isOperator(store: VaultStore, text: string | undefined): Promise<boolean> {
  return (await findToken(store, "operator", text)) !== undefined
}

export async function endSession(store: VaultStore, visitor: Visitor, text: string): Promise<void> {
  await store.takeToken(`${visitor}-session`, hashOf(text), Date.now())
}

/** What a form must bring along: who has it has seen a page of this session. */
export function formTokenOf(session: string): string {
  return createHash("sha256").update(`keyfold portal form\0${session}`).digest("base64url")
}

/** Random, because a hash of the owner would tell who it is to whoever guesses. The first one that was made stays. */
async function externalIdOf(store: VaultStore, owner: string): Promise<string> {
  const hash = hashOf(`owner\0${owner}`)
  const content = JSON.stringify(`keyfold-${randomBytes(16).toString("hex")}`)
  await store.putToken({ kind: "external-id", hash, content, expiresAt: NEVER }, Date.now())
  const kept = await store.findToken("external-id", hash, Date.now())
  return JSON.parse(kept?.content ?? content) as string
}

async function findToken(store: VaultStore, visitor: Visitor, text: string | undefined) {
  if (text === undefined || !TEXT.test(text)) return undefined
  return store.findToken(`${visitor}-session`, hashOf(text), Date.now())
}

async function keep(store: VaultStore, kind: string, text: string, whose: object, expiresAt: number) {
  const content = JSON.stringify(whose)
  await store.putToken({ kind, hash: hashOf(text), content, expiresAt }, Date.now())
}

function tenantOf(content: string): PortalTenant {
  const tenant = JSON.parse(content) as PortalTenant
  return { ...tenant, match: parseContext(tenant.match).object }
}

function hashOf(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest())
}

/** 256 random bits. */
const TEXT = /^[\w-]{43}$/
/** Long enough for an administrator who is away, in milliseconds. */
const DEFAULT_LINK_MS = 7 * 86_400_000
const MIN_LINK_MS = 60_000
const MAX_LINK_MS = 30 * 86_400_000
/** It shows every customer. */
const MAX_OPERATOR_LINK_MS = 86_400_000
/** How long a session lasts; the cloud's own consoles take some of it. */
export const SESSION_MS = 2 * 60 * 60_000
const NEVER = Number.MAX_SAFE_INTEGER
