import type { VaultStore } from "@keyfold/vault"
import type { Hono } from "hono"
import { vaultFor } from "./allowed.ts"
import type { Env } from "./app.ts"
import { RequestError } from "./failure.ts"
import { originOf } from "./portal/answers.ts"
import type { PortalOptions } from "./portal/clouds.ts"
import { createPortalLink } from "./portal/link.ts"
import { bodyOf, portalLinkBody } from "./requests.ts"

/** POST /portal-links: a link to the portal for one tenant, for API keys with the action `portal`. */
export function addPortalLinkRoute(app: Hono<Env>, store: VaultStore, portal: PortalOptions): void {
  app.post("/portal-links", async (context) => {
    vaultFor(context, "portal")
    const { match, owner, providers, expected_region, expires_in } = await bodyOf(
      context,
      portalLinkBody,
      422,
    )
    const scope = Object.entries(context.get("apiKey").scope.context)
    if (!scope.every(([name, value]) => Object.hasOwn(match, name) && match[name] === value)) {
      throw new RequestError(403, "out_of_scope", "the match is outside this API key's scope")
    }
    const { path, expiresAt } = await createPortalLink(
      store,
      {
        ...{ match, owner, providers, expectedRegion: expected_region },
        expiresInMs: expires_in && expires_in * 1000,
      },
      await portal.bindings.read(),
    )
    return context.json({ link: originOf(context, portal) + path, expires_at: expiresAt.toISOString() }, 201)
  })
}
