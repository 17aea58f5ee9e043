import { timingSafeEqual } from "node:crypto"
import type { Context } from "hono"
import { deleteCookie, setCookie } from "hono/cookie"
import { html } from "hono/html"
import type { ContentfulStatusCode } from "hono/utils/http-status"
import type { PortalOptions } from "./clouds.ts"
import { type Html, messagePage, notFoundPage, page } from "./layout.ts"
import { SESSION_MS } from "./link.ts"

/** Where browsers reach this server. */
export function originOf(context: Context, { url }: Pick<PortalOptions, "url">): string {
  return new URL(url ?? context.req.url).origin
}

/** Gives a visitor the cookie of a session, for its pages alone. */
export function letIn(
  context: Context,
  portal: Pick<PortalOptions, "url">,
  { cookie, area, session }: { readonly cookie: string; readonly area: string; readonly session: string },
) {
  setCookie(context, cookie, session, {
    ...{ path: area, httpOnly: true, sameSite: "Strict", maxAge: SESSION_MS / 1000 },
    secure: originOf(context, portal).startsWith("https:"),
  })
  return context.redirect(area, 303)
}

/** Whether a form came from a page of this session. */
export async function isOwnForm(context: Context, form: string): Promise<boolean> {
  const { form: given } = await context.req.parseBody()
  if (typeof given !== "string") return false
  const [a, b] = [Buffer.from(given), Buffer.from(form)]
  return a.length === b.length && timingSafeEqual(a, b)
}

export function refused(context: Context, status: ContentfulStatusCode) {
  const text =
    "The request did not come from a page of this visit. Go back, load the page again, and try once more."
  return answer(context, messagePage("This was refused", text), status)
}

/** The end of a visit. */
export function left(context: Context, { cookie, area }: { readonly cookie: string; readonly area: string }) {
  deleteCookie(context, cookie, { path: area })
  const text = html`<p>Ask for a new link to come back. What you set up stays.</p>`
  return answer(context, page("You have left", text))
}

export function answer(context: Context, markup: Html, status: ContentfulStatusCode = 200) {
  return context.html(markup, status)
}

export function notFound(context: Context) {
  return answer(context, notFoundPage(), 404)
}
