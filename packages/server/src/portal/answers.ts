import type { Context } from "hono"
import type { ContentfulStatusCode } from "hono/utils/http-status"
import type { PortalOptions } from "./clouds.ts"
import { type Html, notFoundPage } from "./layout.ts"

/** Where browsers reach this server. */
export function originOf(context: Context, { url }: Pick<PortalOptions, "url">): string {
  return new URL(url ?? context.req.url).origin
}

export function answer(context: Context, markup: Html, status: ContentfulStatusCode = 200) {
  return context.html(markup, status)
}

export function notFound(context: Context) {
  return answer(context, notFoundPage(), 404)
}
