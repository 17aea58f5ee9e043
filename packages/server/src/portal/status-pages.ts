import { type Health, proofOf } from "@keyfold/byok"
import type { Binding } from "@keyfold/router"
import { html } from "hono/html"
import type { KeyUsage, ProviderId } from "./clouds.ts"
import { formToken, type Html, page, sentence, timeText } from "./layout.ts"
import { CLOUD_NAMES, emptyResults } from "./wizard-pages.ts"

export type StatusParts = {
  readonly binding: Binding
  /** Null where it was not asked: a key in use is, unless it was checked just now. */
  readonly health: Health | null
  readonly usage: KeyUsage | undefined
  readonly session: string
  /** Checks and outcome, where the key was checked just now. */
  readonly results?: Html
}

/** How the tenant's key is, and what can be done with it. */
export function statusPage({ binding, health, usage, session, results }: StatusParts): Html {
  const { provider, keyId, state, canaries } = binding
  const isActive = state === "active"
  const row = (name: string, value: Html | string) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`
  return page(
    isActive ? "Your key is in use" : "Your key is disabled here",
    html`${
      health === null || health.state === "healthy"
        ? ""
        : html`<section class="outcome bad" aria-label="Now"><h2>${HEALTH[health.state]}</h2>
<p>${sentence(health.message)}</p>${health.fix === null ? "" : html`<p class="fix">${sentence(health.fix)}</p>`}</section>`
    }
<section aria-labelledby="facts"><h2 id="facts">Status</h2><dl>
${row("Now", nowOf(health, results))}
${row("Key", html`<code>${keyId}</code>`)}
${row("Cloud", CLOUD_NAMES[provider as ProviderId] ?? provider)}
${row("Last full check", timeText(proofOf(binding)?.madeAt))}
${row("Protects data with", pairsOf(binding))}
${binding.history.length === 0 ? "" : row("Former keys that may still be needed", String(binding.history.length))}
</dl></section>
${usage === undefined ? "" : usagePart(binding, usage)}
<section aria-labelledby="rotation"><h2 id="rotation">Rotation</h2>
<p>${ROTATION[provider as ProviderId] ?? ""}</p>
<p>Checked versions of this key: ${canaries.filter((each) => each.keyId === keyId).length}.</p>
<p><a href="/portal/setup">Use another key</a></p></section>
${isActive ? checkPart(session, results) : enablePart(session)}
${
  isActive
    ? html`<section aria-labelledby="end-use"><h2 id="end-use">Stop its use</h2>
<p>You can shut your data here, without a word to your cloud. Nobody can read it then, you included.</p>
<p><a class="button danger" href="/portal/disable">Disable the key here…</a></p></section>`
    : ""
}`,
    { session },
  )
}

/** What becomes unreadable, before it does. */
export function disablePage(
  { keyId, history }: Binding,
  match: Html,
  objects: number,
  session: string,
): Html {
  const many =
    objects >= MAX_COUNTED
      ? `${MAX_COUNTED.toLocaleString("en")} objects or more`
      : `${objects} ${objects === 1 ? "object" : "objects"}`
  const former = history.length === 0 ? "" : " What our sweep has not moved off former keys yet still opens."
  return page(
    "Disable your key here?",
    html`<section class="outcome bad" aria-labelledby="warning"><h2 id="warning">Everything under this key becomes unreadable</h2>
<p>What is encrypted under <code>${keyId}</code> can then not be read, by you or by us, and nothing new can be written with
${match}. <strong>${many}</strong> here have these pairs, and our application may keep more data under them elsewhere. Whatever uses it fails at
once.${former}</p>
<p>Nothing is deleted. It opens again when you enable the key here, as long as the key itself is there: never delete it in
your cloud while data is under it.</p></section>
<form method="post" action="/portal/disable">${formToken(session)}
<p><label><input type="checkbox" name="understood" value="yes" required> I understand that this data becomes unreadable.</label></p>
<button class="danger">Disable the key here</button> <a href="/portal">Keep it in use</a></form>`,
    { session },
  )
}

/** The pairs of a binding, for its own administrator. */
export function pairsOf({ match }: Pick<Binding, "match">): Html {
  return html`${Object.entries(match).map(([name, value], i) => html`${i === 0 ? "" : ", "}<code>${name}=${value}</code>`)}`
}

function nowOf(health: Health | null, results: Html | undefined): string {
  if (health !== null) return HEALTH[health.state]
  return results === undefined ? "not asked" : "see the check below"
}

function usagePart({ provider, keyId }: Binding, usage: KeyUsage): Html {
  const { wraps, unwraps, refused, lastUsedAt } = usage.of(provider, keyId)
  return html`<section aria-labelledby="usage"><h2 id="usage">Use</h2><dl>
<div><dt>Encryptions</dt><dd>${wraps}</dd></div>
<div><dt>Decryptions</dt><dd>${unwraps}</dd></div>
<div><dt>Refused or failed</dt><dd>${refused}</dd></div>
<div><dt>Last use</dt><dd>${timeText(lastUsedAt)}</dd></div></dl>
<p class="hint">By this server, since ${timeText(usage.since)}. Your cloud's own log has every call.</p></section>`
}

function checkPart(session: string, results: Html | undefined): Html {
  return html`<section aria-labelledby="check"><h2 id="check">Check it again</h2>
<form method="post" action="/portal/check" data-live>${formToken(session)}<button>Check the key now</button></form>
<div id="results">${results ?? emptyResults()}</div></section>`
}

function enablePart(session: string): Html {
  return html`<section aria-labelledby="enable"><h2 id="enable">Use it again</h2>
<p>Data under this key cannot be read or written now.</p>
<form method="post" action="/portal/enable">${formToken(session)}<button>Enable the key here</button></form></section>`
}

/** Objects are counted up to here. */
export const MAX_COUNTED = 1000
const HEALTH: Readonly<Record<Health["state"], string>> = {
  healthy: "It works",
  revoked: "It refuses: the data under it is shut",
  unreachable: "Its cloud cannot be reached",
  unknown: "Something is wrong with it",
}
const ROTATION: Readonly<Record<ProviderId, string>> = {
  "aws-kms":
    "Turn on automatic rotation in KMS. Nothing changes here, and what was encrypted before still opens.",
  "azure-keyvault":
    "A new version of the key is used once you set it up here, by Use another key. Keep the former version enabled until our sweep has moved the data.",
  "gcp-kms":
    "Give the key a rotation period. New versions are used by themselves; keep former ones enabled until our sweep has moved the data.",
}
