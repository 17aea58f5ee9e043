import { linkEvents, readEvent, type VaultStore } from "@keyfold/vault"
import { Hono } from "hono"
import { getCookie } from "hono/cookie"
import { answer, isOwnForm, left, letIn, notFound, refused } from "./answers.ts"
import type { PortalOptions } from "./clouds.ts"
import { endSession, formTokenOf, isGoodLink, isOperator, openLink } from "./link.ts"
import { operatorOpenPage, overviewPage } from "./operator-pages.ts"

/** What the operator sees, by a link of its own: all tenants' bindings, the managed KEKs in number, the latest events. */
export function operatorRoutes(portal: PortalOptions, store: VaultStore): Hono {
  const app = new Hono()
  app.get("/open/:link", async (context) => {
    const link = context.req.param("link")
    if (!(await isGoodLink(store, "operator", link))) return notFound(context)
    return answer(context, operatorOpenPage(`/portal/operator/open/${link}`))
  })
  app.post("/open/:link", async (context) => {
    const session = await openLink(store, "operator", context.req.param("link"))
    return session === undefined ? notFound(context) : letIn(context, portal, { ...VISIT, session })
  })
  app.use(async (context, next) => {
    return (await isOperator(store, getCookie(context, VISIT.cookie))) ? next() : notFound(context)
  })
  app.get("/", async (context) => {
    await linkEvents(store)
    const [bindings, keks, events] = await Promise.all([
      portal.bindings.read(),
      portal.kekCounts?.(),
      store.events({ limit: EVENTS, order: "desc" }),
    ])
    const session = formTokenOf(getCookie(context, VISIT.cookie) ?? "")
    const parts = { bindings, keks, usage: portal.usage, events: events.map(readEvent), session }
    return answer(context, overviewPage(parts))
  })
  app.post("/leave", async (context) => {
    const session = getCookie(context, VISIT.cookie) ?? ""
    if (!(await isOwnForm(context, formTokenOf(session)))) return refused(context, 403)
    await endSession(store, "operator", session)
    return left(context, VISIT)
  })
  app.all("*", notFound)
  return app
}

const VISIT = { cookie: "keyfold_operator", area: "/portal/operator" } as const
const EVENTS = 50
