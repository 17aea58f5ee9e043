import { html, raw } from "hono/html"

/** Markup whose every value is escaped. */
export type Html = ReturnType<typeof html>

/** A whole page. */
export function page(
  title: string,
  body: Html,
  { session, area = "/portal" }: { readonly session?: string; readonly area?: string } = {},
): Html {
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="stylesheet" href="/portal/style.css">
${SCRIPT_TAG}
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header><p>Encryption keys</p>${
    session === undefined
      ? ""
      : html`
<form method="post" action="${area}/leave">${formToken(session)}<button class="quiet">Leave</button></form>`
  }</header>
<main id="main" tabindex="-1">
<h1>${title}</h1>
${body}
</main>
</body>
</html>`
}

/** For a link that was used, has expired or never was, and for every page without a session. */
export function notFoundPage(): Html {
  return page(
    "This page is not here",
    html`<p>A link to it works once, and for a limited time. If you had one, it was used or it has expired, or your visit took
too long. Ask whoever sent it for a new one; what you have set up stays.</p>`,
  )
}

/** A page with one sentence, such as why something was refused. */
export function messagePage(title: string, text: string): Html {
  return page(title, html`<p>${text}</p><p><a href="/portal">Back</a></p>`)
}

/** Shows that a form comes from a page of this session. */
export function formToken(token: string): Html {
  return html`<input type="hidden" name="form" value="${token}">`
}

/** Text to copy; the script adds the button. */
export function copyable(label: string, text: string): Html {
  return html`<div class="copy"><pre tabindex="0" role="region" aria-label="${label}"><code>${text}</code></pre></div>`
}

/** A time for people, in UTC. */
export function timeText(at: Date | string | undefined): Html | string {
  if (at === undefined) return "never"
  const iso = new Date(at).toISOString()
  return html`<time datetime="${iso}">${iso.slice(0, 10)} ${iso.slice(11, 16)} UTC</time>`
}

export function sentence(text: string): string {
  const whole = text.charAt(0).toUpperCase() + text.slice(1)
  return /[.!?]$/.test(whole) ? whole : `${whole}.`
}

/** Not in a tagged template: for one with this tag in it the build would import a helper that is no dependency. */
const SCRIPT_TAG = raw('<script src="/portal/script.js" defer></script>')
