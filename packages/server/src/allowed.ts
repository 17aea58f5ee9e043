import type { Context } from "hono"
import type { Action } from "./api-key.ts"
import type { Env } from "./app.ts"
import { RequestError } from "./failure.ts"

/** The vault as the caller's API key may use it. @throws RequestError 403 where it may not do this at all */
export function vaultFor(context: Context<Env>, action: Action) {
  if (!context.get("apiKey").scope.actions.includes(action)) {
    throw new RequestError(403, "forbidden", `this API key may not do this: it lacks the action ${action}`)
  }
  return context.get("vault")
}
