import { proofOf } from "@keyfold/byok"
import type { Binding } from "@keyfold/router"
import type { VaultEvent } from "@keyfold/vault"
import { html } from "hono/html"
import type { KeyUsage } from "./clouds.ts"
import { type Html, page, timeText } from "./layout.ts"
import { pairsOf } from "./status-pages.ts"

/** Before the operator's link is used up. */
export function operatorOpenPage(path: string): Html {
  return page(
    "Look at all keys",
    html`<p>This link shows every customer's binding and the latest events. It changes nothing.</p>
<form method="post" action="${path}"><button>Continue</button></form>
<p class="hint">The link works once. Your visit lasts two hours at most.</p>`,
  )
}

export type OverviewParts = {
  /** Removed ones too. */
  readonly bindings: readonly Binding[]
  /** Managed KEKs by state, where somebody counts them. */
  readonly keks: Readonly<Record<string, number>> | undefined
  readonly usage: KeyUsage | undefined
  /** The latest ones, the newest first. */
  readonly events: readonly VaultEvent[]
  readonly session: string
}

/** Bindings, KEKs and events of the whole environment. */
export function overviewPage({ bindings, keks, usage, events, session }: OverviewParts): Html {
  const kekRows = Object.entries(keks ?? {}).map(([state, count]) => [state, count.toLocaleString("en")])
  return page(
    "All keys",
    html`${table(
      "Customers' keys",
      BINDING_HEADS,
      bindings.map((binding) => bindingRow(binding, usage)),
    )}
${usage === undefined ? "" : html`<p class="hint">Use is counted by this server, since ${timeText(usage.since)}.</p>`}
${keks === undefined ? "" : table("Managed KEKs", ["State", "How many"], kekRows)}
${table("Latest events", ["Time", "Event", "By", "Organization"], events.map(eventCells))}`,
    { session, area: "/portal/operator" },
  )
}

type Cell = Html | string | number

function bindingRow(binding: Binding, usage: KeyUsage | undefined): readonly Cell[] {
  const { state, provider, keyId } = binding
  const use = usage?.of(provider, keyId)
  return [
    pairsOf(binding),
    state,
    html`${provider} <code>${keyId}</code>`,
    timeText(proofOf(binding)?.madeAt),
    use === undefined ? "" : use.wraps + use.unwraps,
    use?.refused ?? "",
  ]
}

function eventCells({ at, type, actor, organizationId, context, verified }: VaultEvent): readonly Cell[] {
  const outcome = verified === undefined ? "" : verified ? ": passed" : ": failed"
  const whose = organizationId ?? context?.organization_id ?? ""
  return [timeText(new Date(at)), `${type}${outcome}`, `${actor.name} (${actor.source})`, whose]
}

function table(caption: string, heads: readonly string[], rows: readonly (readonly Cell[])[]): Html {
  const body = rows.map((cells) => html`<tr>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`)
  return html`<div class="wide" tabindex="0" role="region" aria-label="${caption}"><table><caption>${caption}</caption>
<thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>${rows.length === 0 ? html`<tr><td colspan="${heads.length}">none</td></tr>` : body}</tbody></table></div>`
}

const BINDING_HEADS = ["Pairs", "State", "Key", "Last full check", "Uses", "Refused or failed"]
