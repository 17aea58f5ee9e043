import type { Check } from "@keyfold/byok"
import { type EventSink, eventRow } from "@keyfold/vault"
import type { Context } from "hono"
import { html } from "hono/html"
import { stream } from "hono/streaming"
import { RateLimiterMemory } from "rate-limiter-flexible"
import { answer } from "./answers.ts"
import { checkItem, isShown, outcomePart, type Parties } from "./check-parts.ts"
import type { ProviderId } from "./clouds.ts"
import { type Html, messagePage } from "./layout.ts"
import type { PortalTenant } from "./link.ts"
import type { Outcome, Watching } from "./set-up.ts"

/** What is checked, and where its result is shown. */
export type Checking = {
  readonly tenant: PortalTenant
  readonly provider: ProviderId
  readonly parties: Parties
  /** Whether the key is to be used from then on. */
  readonly isFirst: boolean
  readonly run: (watching: Watching) => Promise<Outcome>
  readonly pageOf: (results: Html) => Html | Promise<Html>
}

/**
 * Runs one check of a tenant at a time, and so many a minute, and answers with a page when it is done, or, where the script
 * asks, with a line of JSON for each check as it ends. It ends with the connection.
 */
export function checker(
  events: EventSink,
  onError: ((error: unknown, requestId: string) => void) | undefined,
) {
  const busy = new Set<string>()
  const limit = new RateLimiterMemory({ points: CHECKS_A_MINUTE, duration: 60 })

  return async (context: Context, { tenant, provider, parties, isFirst, run, pageOf }: Checking) => {
    const { owner } = tenant
    const isAllowed = await limit.consume(owner).then(
      () => true,
      () => false,
    )
    if (!isAllowed || busy.has(owner)) {
      return answer(context, messagePage("Too many checks", "Wait a minute, and try again."), 429)
    }
    busy.add(owner)
    const { signal } = context.req.raw
    const watched = async (onCheck: (check: Check) => void): Promise<Outcome> => {
      try {
        const outcome = await run({ onCheck, signal })
        await events.record(eventsOf(tenant, provider, outcome))
        return outcome
      } finally {
        busy.delete(owner)
      }
    }
    if (context.req.header("accept") !== LINES) {
      const items: Html[] = []
      const outcome = await watched((check) => isShown(check) && items.push(checkItem(check, parties)))
      const results = html`<ol class="checks" aria-label="Checks">${items}</ol><div id="end">${outcomePart(outcome, isFirst)}</div>`
      return answer(context, await pageOf(results))
    }
    context.header("content-type", LINES)
    return stream(context, async (lines) => {
      let written = Promise.resolve()
      const write = (name: "item" | "end", markup: Html) => {
        written = written.then(async () => {
          await lines.write(`${JSON.stringify({ [name]: String(await markup) })}\n`)
        })
      }
      try {
        const outcome = await watched((check) => isShown(check) && write("item", checkItem(check, parties)))
        write("end", outcomePart(outcome, isFirst))
      } catch (error) {
        // The script tells that no end came.
        if (!signal.aborted) onError?.(error, context.get("requestId"))
      }
      await written
    })
  }
}

function eventsOf({ match }: PortalTenant, provider: ProviderId, { report }: Outcome) {
  if (report === undefined) return []
  const { organization_id: organizationId } = match
  const subject = {
    ...{ verified: report.result !== "fail", provider: EVENT_NAMES[provider] },
    ...(organizationId !== undefined && { organizationId }),
  }
  return [eventRow("vault.byok_key.verification_completed", ADMINISTRATOR, subject)]
}

const LINES = "application/x-ndjson"
const ADMINISTRATOR = { id: "portal", name: "administrator", source: "admin_portal" } as const
/** As the public contract names them. */
const EVENT_NAMES = {
  "aws-kms": "AWS_KMS",
  "azure-keyvault": "AZURE_KEY_VAULT",
  "gcp-kms": "GCP_KMS",
} as const
/** Of one tenant; each is up to twelve requests to a KMS. */
const CHECKS_A_MINUTE = 20
