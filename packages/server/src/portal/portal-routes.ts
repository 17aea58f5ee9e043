import { activateVerified, bindingFor, checkHealth } from "@keyfold/byok"
import { KeyfoldError } from "@keyfold/core"
import { type Binding, disableBinding } from "@keyfold/router"
import type { EventSink, VaultStore } from "@keyfold/vault"
import { type Context, Hono } from "hono"
import { bodyLimit } from "hono/body-limit"
import { getCookie } from "hono/cookie"
import { answer, isOwnForm, left, letIn, notFound, originOf, refused } from "./answers.ts"
import { SCRIPT, STYLE } from "./assets.ts"
import { checker } from "./checking.ts"
import { type PortalOptions, PROVIDERS, type ProviderId } from "./clouds.ts"
import { keyOf, readTyped } from "./key-form.ts"
import { type Html, messagePage } from "./layout.ts"
import { endSession, findSession, formTokenOf, isGoodLink, openLink, type PortalTenant } from "./link.ts"
import { operatorRoutes } from "./operator-routes.ts"
import { checkAgain, setUpKey } from "./set-up.ts"
import { disablePage, MAX_COUNTED, pairsOf, statusPage } from "./status-pages.ts"
import { choicePage, openPage, setUpPage } from "./wizard-pages.ts"

/** What the portal's requests carry along: whose session it is, and the token of its forms. */
type Env = { Variables: { requestId: string; tenant: PortalTenant; form: string } }

export type PortalRoutesOptions = {
  readonly portal: PortalOptions
  readonly store: VaultStore
  readonly events: EventSink
  readonly onError: ((error: unknown, requestId: string) => void) | undefined
}

/**
 * The pages on which a tenant's administrator sets up and looks after its key. Whatever there is no good link or session
 * for is the same page, with 404.
 */
export function portalRoutes({ portal, store, events, onError }: PortalRoutesOptions): Hono<Env> {
  const app = new Hono<Env>()
  const checking = checker(events, onError)

  app.use(async (context, next) => {
    await next()
    for (const [name, value] of Object.entries(HEADERS)) context.res.headers.set(name, value)
  })
  app.onError((error, context) => {
    if (!context.req.raw.signal.aborted) onError?.(error, context.get("requestId"))
    return answer(context, messagePage("This did not work", SERVER_FAULT), 500)
  })
  app.use(bodyLimit({ maxSize: MAX_BODY_BYTES, onError: (context) => refused(context, 413) }))
  app.use(async (context, next) => {
    // Browsers send it with every POST (Fetch, "append a request Origin header"); a page elsewhere cannot set it.
    if (context.req.method === "POST" && context.req.header("origin") !== originOf(context, portal)) {
      return refused(context, 403)
    }
    return next()
  })
  app.get("/style.css", (context) => context.body(STYLE, 200, { "content-type": "text/css; charset=utf-8" }))
  app.get("/script.js", (context) =>
    context.body(SCRIPT, 200, { "content-type": "text/javascript; charset=utf-8" }),
  )

  app.get("/open/:link", async (context) => {
    const link = context.req.param("link")
    if (!(await isGoodLink(store, "portal", link))) return notFound(context)
    return answer(context, openPage(`/portal/open/${link}`))
  })
  app.post("/open/:link", async (context) => {
    const session = await openLink(store, "portal", context.req.param("link"))
    return session === undefined ? notFound(context) : letIn(context, portal, { ...VISIT, session })
  })
  app.route("/operator", operatorRoutes(portal, store))

  app.use(async (context, next) => {
    const session = getCookie(context, VISIT.cookie)
    const tenant = await findSession(store, session)
    if (tenant === undefined || session === undefined) return notFound(context)
    const form = formTokenOf(session)
    if (context.req.method === "POST" && !(await isOwnForm(context, form))) return refused(context, 403)
    context.set("tenant", tenant)
    context.set("form", form)
    return next()
  })
  app.get("/", async (context) => {
    const binding = await bound(context)
    if (binding === undefined) return context.redirect("/portal/setup", 303)
    return answer(context, await status(context, binding))
  })
  app.get("/setup", async (context) => {
    const offered = offeredTo(context.get("tenant"), portal)
    const binding = await bound(context)
    return answer(context, choicePage(offered, binding?.keyId, context.get("form")))
  })
  app.get("/setup/:provider", async (context) => {
    const provider = providerOf(context)
    if (provider === undefined) return notFound(context)
    const parts = { provider, typed: readTyped({}), session: context.get("form") }
    return answer(context, setUpPage(portal, await told(context, provider), parts))
  })
  app.post("/setup/:provider", async (context) => {
    const provider = providerOf(context)
    const cloud = provider && portal.clouds[provider]
    if (provider === undefined || cloud === undefined) return notFound(context)
    const typed = readTyped(await context.req.parseBody())
    const tenant = await told(context, provider)
    const key = keyOf(provider, typed, tenant.externalId, cloud)
    const parts = { provider, typed, session: context.get("form") }
    const parties = { roleArn: typed.roleArn || undefined, principal: cloud.principal }
    return checking(context, {
      ...{ tenant, provider, parties, isFirst: true },
      run: (watching) => setUpKey(portal, tenant, provider, key, watching),
      pageOf: (results) => setUpPage(portal, tenant, { ...parts, results }),
    })
  })
  app.post("/check", async (context) => {
    const binding = await bound(context)
    const provider = binding?.provider as ProviderId
    const cloud = portal.clouds[provider]
    if (binding === undefined || cloud === undefined) return notFound(context)
    const { roleArn } = binding.options
    return checking(context, {
      ...{ tenant: context.get("tenant"), provider, isFirst: false },
      parties: { roleArn: typeof roleArn === "string" ? roleArn : undefined, principal: cloud.principal },
      run: (watching) => checkAgain(portal, binding, watching),
      pageOf: (results) => status(context, binding, results),
    })
  })
  app.get("/disable", async (context) => {
    const binding = await bound(context)
    if (binding?.state !== "active") return notFound(context)
    const objects = await store.list({ limit: MAX_COUNTED, order: "asc", context: binding.match })
    return answer(context, disablePage(binding, pairsOf(binding), objects?.length ?? 0, context.get("form")))
  })
  app.post("/disable", async (context) => {
    if ((await context.req.parseBody()).understood !== "yes") return context.redirect("/portal/disable", 303)
    return changed(context, (binding, _, change) => disableBinding(binding, change))
  })
  app.post("/enable", (context) =>
    changed(context, (binding, existing, change) => activateVerified(binding, existing, change)),
  )
  app.post("/leave", async (context) => {
    await endSession(store, "portal", getCookie(context, VISIT.cookie) ?? "")
    return left(context, VISIT)
  })
  app.all("*", notFound)
  return app

  /** The tenant's binding, if its key is or was in use. */
  async function bound(context: Context<Env>): Promise<Binding | undefined> {
    const binding = bindingFor(context.get("tenant").match, await portal.bindings.read())
    return binding?.state === "active" || binding?.state === "disabled" ? binding : undefined
  }

  /** The tenant, with the external id that its role wants already. */
  async function told(context: Context<Env>, provider: ProviderId): Promise<PortalTenant> {
    const tenant = context.get("tenant")
    const binding = await bound(context)
    const known = binding?.provider === provider ? binding.options.externalId : undefined
    return typeof known === "string" ? { ...tenant, externalId: known } : tenant
  }

  function providerOf(context: Context<Env>): ProviderId | undefined {
    return offeredTo(context.get("tenant"), portal).find((each) => each === context.req.param("provider"))
  }

  async function status(context: Context<Env>, binding: Binding, results?: Html): Promise<Html> {
    const { environment, usage } = portal
    const provider = await portal.clouds[binding.provider as ProviderId]?.provider()
    const isAsked = binding.state === "active" && provider !== undefined && results === undefined
    const health = isAsked
      ? await checkHealth(provider, binding, { environment, deadlineMs: HEALTH_MS })
      : null
    const parts = { binding, health, usage, session: context.get("form") }
    return statusPage({ ...parts, ...(results !== undefined && { results }) })
  }

  async function changed(
    context: Context<Env>,
    work: (
      ...args: [Binding, ...Parameters<Parameters<PortalOptions["bindings"]["change"]>[0]>]
    ) => Promise<Binding>,
  ) {
    const { match } = context.get("tenant")
    try {
      await portal.bindings.change(async (existing, change) => {
        const binding = bindingFor(match, existing)
        if (binding === undefined) throw new KeyfoldError("INVALID_ARGUMENT", "there is no key to change")
        return work(binding, existing, change)
      })
    } catch (error) {
      if (!(error instanceof KeyfoldError) || error.code !== "INVALID_ARGUMENT") throw error
      return answer(context, messagePage("This cannot be done", error.message), 409)
    }
    return context.redirect("/portal", 303)
  }
}

function offeredTo({ providers }: PortalTenant, { clouds }: PortalOptions): readonly ProviderId[] {
  return PROVIDERS.filter(
    (id) => clouds[id] !== undefined && (providers.length === 0 || providers.includes(id)),
  )
}

const VISIT = { cookie: "keyfold_portal", area: "/portal" } as const
const SERVER_FAULT = "The server could not do this; its operator has the details. Try again later."
/** Nothing from elsewhere, nothing inline, in no frame. `same-origin`, for `no-referrer` would empty Origin. */
const HEADERS = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
}
/** A form of three fields. */
const MAX_BODY_BYTES = 16 * 1024
/** How long a page waits for a key, in milliseconds. */
const HEALTH_MS = 4_000
