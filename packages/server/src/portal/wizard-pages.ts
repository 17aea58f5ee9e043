import { html } from "hono/html"
import type { PortalOptions, ProviderId } from "./clouds.ts"
import { type Step, stepsFor } from "./guide.ts"
import { FIELDS, type Field, type Typed } from "./key-form.ts"
import { copyable, formToken, type Html, page, sentence } from "./layout.ts"
import type { PortalTenant } from "./link.ts"

/** Before a link is used up: what opens mails to look at links must not use one up. */
export function openPage(path: string): Html {
  return page(
    "Set up your encryption key",
    html`<p>With this link you connect a key of your own cloud to your organization's data here, or look after one that is
connected. You need an account there that may change the key's permissions.</p>
<form method="post" action="${path}"><button>Continue</button></form>
<p class="hint">The link works once. Your visit lasts two hours at most; ask for a new link to come back.</p>`,
  )
}

/** Step one: which cloud. */
export function choicePage(
  offered: readonly ProviderId[],
  formerKeyId: string | undefined,
  session: string,
): Html {
  return page(
    "Where is your key?",
    html`${
      formerKeyId === undefined
        ? ""
        : html`<p>The key in use now is <code>${formerKeyId}</code>. The one you set up takes its place. What was encrypted under the former
one still needs that, until our next sweep has moved it: keep it enabled until then.</p>`
    }
${offered.length === 0 ? html`<p>No cloud is offered with this link. Ask whoever sent it.</p>` : ""}
<nav aria-label="Clouds"><ul class="choices">${offered.map(
      (id) =>
        html`<li><a href="/portal/setup/${id}"><strong>${CLOUD_NAMES[id]}</strong> <span>${SERVICES[id]}</span></a></li>`,
    )}</ul></nav>`,
    { session },
  )
}

/** What a set-up page shows beside its steps. */
export type SetUpParts = {
  readonly provider: ProviderId
  readonly typed: Typed
  readonly session: string
  /** Checks and outcome, where the key was checked. */
  readonly results?: Html
}

/** Steps two to four: what to do in the cloud, the key's id, and the checks. */
export function setUpPage(portal: PortalOptions, tenant: PortalTenant, parts: SetUpParts): Html {
  const { provider, typed, session, results } = parts
  const principal = portal.clouds[provider]?.principal ?? ""
  const steps = stepsFor(provider, principal, tenant, typed)
  return page(
    `Your key in ${CLOUD_NAMES[provider]}`,
    html`${results === undefined ? "" : html`<p><a href="#outcome">To the result of the check</a></p>`}
<ol class="steps">${steps.map(stepItem)}
<li><h2>Check the key, and use it</h2>
<form method="post" action="/portal/setup/${provider}" data-live>
${formToken(session)}
${FIELDS[provider].map((field) => inputOf(field, typed[field.name]))}
<p class="hint">We encrypt a random number with the key and decrypt it again. If no check fails, your data is encrypted under
the key from then on.</p>
<button>Check and use this key</button>
</form>
<div id="results">${results ?? emptyResults()}</div>
</li></ol>
<p><a href="/portal/setup">Choose another cloud</a></p>`,
    { session },
  )
}

/** Where checks appear; they are read out as they come. */
export function emptyResults(): Html {
  return html`<p id="progress" role="status"></p><ol class="checks" aria-live="polite" aria-label="Checks"></ol><div id="end"></div>`
}

function stepItem({ title, text, policies }: Step): Html {
  return html`<li><h2>${title}</h2>${text.map((each) => html`<p>${each}</p>`)}${policies.map(
    ({ where, kind, json, terraform }) => html`<h3>${sentence(where)}</h3>
${copyable(`${kind}, JSON`, JSON.stringify(json, null, 2))}
<details><summary>As Terraform</summary>${copyable(`${kind}, Terraform`, terraform)}</details>`,
  )}</li>`
}

function inputOf({ name, label, hint, example, isRequired }: Field, value: string): Html {
  const optional = isRequired ? "" : html` <span class="hint">(optional)</span>`
  return html`<p class="field"><label for="${name}">${label}${optional}</label>
<span class="hint" id="${name}-hint">${hint} For example <code>${example}</code></span>
<input id="${name}" name="${name}" value="${value}" aria-describedby="${name}-hint" autocomplete="off" spellcheck="false"
autocapitalize="none" ${isRequired ? "required" : ""}></p>`
}

export const CLOUD_NAMES: Readonly<Record<ProviderId, string>> = {
  "aws-kms": "AWS",
  "azure-keyvault": "Azure",
  "gcp-kms": "Google Cloud",
}
const SERVICES: Readonly<Record<ProviderId, string>> = {
  "aws-kms": "Key Management Service",
  "azure-keyvault": "Key Vault or Managed HSM",
  "gcp-kms": "Cloud KMS",
}
