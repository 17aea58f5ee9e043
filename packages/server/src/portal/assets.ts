/** The portal's style: no font, no picture, no frame work. Colours have a contrast of 4.5 and more, light and dark. */
export const STYLE = `
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #4d5661; --paper: #ffffff; --wash: #f2f4f7; --line: #8a94a0;
  --link: #0b57b0; --good: #14692f; --warn: #7a4d00; --bad: #a61b1b; --on: #ffffff }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebee; --soft: #b3bcc6; --paper: #15181c; --wash: #20252b; --line: #77818c;
    --link: #8cbcff; --good: #7ed492; --warn: #f0c069; --bad: #ff9d95; --on: #15181c }
}
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1rem/1.55 system-ui, sans-serif }
header { display: flex; justify-content: space-between; align-items: center; gap: 1rem; padding: .5rem 1rem;
  background: var(--wash); border-bottom: 1px solid var(--line) }
header p, header form { margin: 0 }
main { max-width: 46rem; margin: 0 auto; padding: 1rem 1rem 4rem }
main:focus { outline: none }
h1 { font-size: 1.7rem; line-height: 1.25 } h2 { font-size: 1.2rem } h3 { font-size: 1rem; font-weight: 600 }
a { color: var(--link) }
code, pre { font: .88em/1.45 ui-monospace, monospace; overflow-wrap: anywhere }
pre { background: var(--wash); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; margin: .5rem 0;
  overflow: auto; max-height: 20rem; white-space: pre-wrap }
.copy { position: relative } .copy button { position: absolute; top: .4rem; right: .4rem; padding: .2rem .6rem; font-size: .85rem }
.hint { color: var(--soft); font-size: .92rem }
.skip { position: absolute; left: -100rem } .skip:focus { left: .5rem; top: .5rem; background: var(--paper); padding: .5rem }
button, .button { display: inline-block; font: inherit; font-weight: 600; padding: .55rem 1.1rem; border-radius: 6px; border: 1px solid var(--link);
  background: var(--link); color: var(--on); text-decoration: none; cursor: pointer }
button.quiet, .copy button { background: var(--paper); color: var(--link) }
.danger { background: var(--bad); border-color: var(--bad); color: var(--on) }
button[disabled] { cursor: progress; background: var(--paper); color: var(--soft); border-color: var(--line) }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px }
.field label { display: block; font-weight: 600 } .field .hint { display: block }
.field input { width: 100%; font: 1rem ui-monospace, monospace; padding: .5rem; margin-top: .3rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--paper); color: var(--ink) }
.choices { list-style: none; padding: 0; display: grid; gap: .75rem; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)) }
.choices a { display: block; padding: 1rem; border: 1px solid var(--line); border-radius: 8px; text-decoration: none }
.choices strong, .choices span { display: block } .choices span { color: var(--soft) }
.steps { padding-left: 1.5rem } .steps > li::marker { font-weight: 700 }
.checks { list-style: none; padding: 0 }
.check { display: flex; gap: .75rem; padding: .6rem 0; border-bottom: 1px solid var(--line) }
.check p { margin: 0 0 .25rem } .check > div { min-width: 0; flex: 1 }
.mark { font-weight: 700; width: 1.2rem; text-align: center }
.pass .mark, .pass .word { color: var(--good) } .warn .mark, .warn .word { color: var(--warn) }
.fail .mark, .fail .word { color: var(--bad) }
.word { font-size: .9rem }
.fix { border-left: 4px solid var(--warn); padding-left: .75rem } .whose { color: var(--soft) }
.outcome { border: 2px solid var(--line); border-radius: 8px; padding: 0 1rem .5rem; margin: 1rem 0 }
.outcome.good { border-color: var(--good) } .outcome.bad { border-color: var(--bad) }
dl div { display: grid; grid-template-columns: 13rem 1fr; gap: .5rem; padding: .3rem 0; border-bottom: 1px solid var(--line) }
dt { color: var(--soft) } dd { margin: 0; min-width: 0 }
.wide { overflow-x: auto; margin: 1.5rem 0 } table { border-collapse: collapse; width: 100%; font-size: .92rem }
caption { text-align: left; font-weight: 600; font-size: 1.2rem; padding: .5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid var(--line) }
@media (max-width: 34rem) { dl div { grid-template-columns: 1fr } }
`

/**
 * The portal's one script. Without it every page works all the same: a check then answers when it is done. It adds copy
 * buttons, and shows checks as they end.
 */
export const SCRIPT = `
"use strict"
function addCopyButton(box) {
  const button = document.createElement("button")
  const text = box.querySelector("code").textContent
  button.type = "button"
  button.textContent = "Copy"
  button.setAttribute("aria-label", "Copy: " + box.querySelector("pre").getAttribute("aria-label"))
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text)
      button.textContent = "Copied"
    } catch {
      getSelection().selectAllChildren(box.querySelector("code"))
      button.textContent = "Selected"
    }
    setTimeout(() => { button.textContent = "Copy" }, 2000)
  })
  box.append(button)
}

async function check(form, results) {
  const response = await fetch(form.action, {
    method: "POST",
    headers: { accept: "application/x-ndjson" },
    body: new URLSearchParams(new FormData(form)),
  })
  if (!response.ok || response.headers.get("content-type") !== "application/x-ndjson") throw new Error("refused")
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ""
  let hasEnded = false
  for (;;) {
    const { value, done } = await reader.read()
    if (done) break
    const lines = (rest + value).split("\\n")
    rest = lines.pop()
    for (const line of lines) {
      const { item, end } = JSON.parse(line)
      if (item !== undefined) {
        results.querySelector(".checks").insertAdjacentHTML("beforeend", item)
        for (const box of results.querySelectorAll(".checks > li:last-child .copy")) addCopyButton(box)
      }
      if (end !== undefined) {
        results.querySelector("#end").innerHTML = end
        results.querySelector("#outcome").focus()
        hasEnded = true
      }
    }
  }
  if (!hasEnded) throw new Error("cut off")
}

for (const box of document.querySelectorAll(".copy")) addCopyButton(box)
for (const form of document.querySelectorAll("form[data-live]")) {
  const results = document.getElementById("results")
  const empty = results.querySelector("#progress") === null ? undefined : results.innerHTML
  form.addEventListener("submit", async (event) => {
    if (empty === undefined) return
    event.preventDefault()
    const button = form.querySelector("button")
    results.innerHTML = empty
    const progress = results.querySelector("#progress")
    progress.textContent = "Checking the key…"
    button.disabled = true
    try {
      await check(form, results)
      progress.textContent = ""
    } catch {
      progress.textContent = "The check did not come to its end. Wait a minute, and load this page again to see how things are."
    }
    button.disabled = false
  })
}
document.getElementById("outcome")?.focus()
`
