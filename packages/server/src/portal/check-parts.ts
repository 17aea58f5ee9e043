import { type Check, worstCheck } from "@keyfold/byok"
import { html } from "hono/html"
import { copyable, type Html, sentence } from "./layout.ts"
import type { Outcome } from "./set-up.ts"

/** Whose job it is to mend what a check found. */
export type Parties = {
  /** The role in the customer's account that calls; undefined where the server calls as itself. */
  readonly roleArn: string | undefined
  readonly principal: string
}

/** One check of a list, with its fix beside a failure. */
export function checkItem(check: Check, parties: Parties): Html {
  const { id, status, message, reason } = check
  const [mark, word] = STATUSES[status]
  return html`<li class="check ${status}" data-check="${id}" data-reason="${reason}"><span class="mark" aria-hidden="true">${mark}</span>
<div><p><strong>${titleOf(check)}</strong> <span class="word">${word}</span></p>
<p>${sentence(message)}</p>${fixOf(check, parties)}</div></li>`
}

/** Whether a list shows it: what was not asked is told by what failed before it. */
export function isShown({ status }: Check): boolean {
  return status !== "skipped"
}

/** How it ended. It takes the focus. */
export function outcomePart({ report, binding, refusal }: Outcome, isFirst: boolean): Html {
  if (refusal !== undefined) {
    return outcome("bad", "This key cannot be used", html`<p>${sentence(refusal)}</p>`)
  }
  const worst = report && worstCheck(report)
  if (worst !== undefined) {
    const fix = worst.fix === null ? "" : html`<p class="fix">${sentence(worst.fix)}</p>`
    const next = html`<p>Nothing was changed. Mend it, and check the key again.</p>`
    return outcome("bad", "Something is missing", html`<p>${sentence(worst.message)}</p>${fix}${next}`)
  }
  if (!isFirst) return outcome("good", "The key works", html`<p>Every check that matters has passed.</p>`)
  return outcome(
    "good",
    "Setup is complete",
    html`<p>From now on your data is encrypted under <code>${binding?.keyId}</code>. What was encrypted before still opens, and
moves to your key when our next sweep comes to it.</p><p><a class="button" href="/portal">See its status</a></p>`,
  )
}

function outcome(kind: "good" | "bad", title: string, body: Html): Html {
  return html`<section class="outcome ${kind}" id="outcome" tabindex="-1" aria-labelledby="outcome-title">
<h2 id="outcome-title">${title}</h2>${body}</section>`
}

function fixOf(
  { id, region, status, fix, side, action, policy, propagationSeconds }: Check,
  parties: Parties,
): Html {
  if (status === "pass" || fix === null) return html``
  const whose = side === null ? "" : html` <span class="whose">${whoMends(side, parties)}</span>`
  const denied = action === null ? "" : html`<p>Denied: <code>${action}</code></p>`
  const text =
    policy === null
      ? ""
      : html`<p>Add:</p>${copyable(`${titleOf({ id, region })}: policy for ${action}`, policy)}`
  const wait =
    propagationSeconds === null ? "" : html`<p>It can take ${propagationSeconds / 60} minutes to be seen.</p>`
  return html`<p class="fix"><strong>What to do:</strong> ${sentence(fix)}${whose}</p>${denied}${text}${wait}`
}

function titleOf({ id, region }: Pick<Check, "id" | "region">): string {
  return region === null ? TITLES[id] : `${TITLES[id]} (${region})`
}

function whoMends(side: NonNullable<Check["side"]>, { roleArn, principal }: Parties): string {
  switch (side) {
    case "caller-identity":
      return roleArn === undefined
        ? `This is ours to mend, on ${principal}: send us this page.`
        : `This is yours to mend, on the role ${roleArn}.`
    case "key-policy":
      return "This is yours to mend, in what the key's own policy or permissions allow."
    case "network":
      return "This is about the network: your firewall, or the cloud itself."
    case "key":
      return "This is yours to mend, on the key."
  }
}

const STATUSES = {
  pass: ["✓", "passed"],
  warn: ["!", "worth a look"],
  fail: ["✗", "failed"],
  skipped: ["–", "not checked"],
} as const satisfies Readonly<Record<Check["status"], readonly [string, string]>>
const TITLES: Readonly<Record<Check["id"], string>> = {
  "key-id": "Key id",
  authenticate: "Sign-in to the cloud",
  describe: "The key is found",
  state: "State",
  usage: "Kind of key",
  region: "Region",
  expiry: "Expiry",
  "purge-protection": "Protection from deletion",
  rotation: "Rotation",
  permissions: "Permissions, as the cloud foretells them",
  wrap: "It encrypts",
  unwrap: "It decrypts",
  binding: "It is bound to your data alone",
  "reply-key": "The right key answers",
  latency: "Speed",
  "external-id": "External id",
  "former-versions": "Former versions",
}
