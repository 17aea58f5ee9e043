import { type FailureCode, type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"
import { printable } from "./failure.ts"

/** The key context of repeated `-c name=value`, or of another option. @throws KeyfoldError `INVALID_CONTEXT` */
export function contextOf(pairs: readonly string[] | undefined, option = "-c"): KeyContext {
  const context: Record<string, string> = Object.create(null)
  for (const [i, pair] of (pairs ?? []).entries()) {
    const which = `${option} number ${i + 1}`
    checkText("INVALID_CONTEXT", which, pair)
    const at = pair.indexOf("=")
    if (at < 0) throw new KeyfoldError("INVALID_CONTEXT", `${which} has no "=": write ${option} name=value`)
    const name = pair.slice(0, at)
    if (Object.hasOwn(context, name)) throw new KeyfoldError("INVALID_CONTEXT", `${which} repeats a name`)
    context[name] = pair.slice(at + 1)
  }
  return parseContext(context).object
}

export type OpeningOptions = {
  readonly context?: string[]
  readonly authorizeEmbedded?: true
  readonly json?: true
}

/** How an envelope is to be opened, from `-c` and `--authorize-embedded`. */
export function openingOf({ context, authorizeEmbedded, json }: OpeningOptions) {
  if (context === undefined && !authorizeEmbedded) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "give the key context with -c name=value, or --authorize-embedded",
    )
  }
  return {
    ...(context !== undefined && { context: contextOf(context) }),
    ...(authorizeEmbedded && { authorize: (embedded: KeyContext) => tellNames(embedded, json) }),
  }
}

/** `--aad` as bytes. @throws KeyfoldError `INVALID_ARGUMENT` */
export function aadOf(aad: string | undefined): { aad?: Uint8Array } {
  if (aad === undefined) return {}
  checkText("INVALID_ARGUMENT", "--aad", aad)
  return { aad: new TextEncoder().encode(aad) }
}

/** The names only: values can be personal data, and stderr is often kept. */
function tellNames(embedded: KeyContext, json: true | undefined): true {
  const names = Object.keys(embedded)
  if (json) console.error(JSON.stringify({ embeddedContext: { pairNames: names } }))
  else console.error(`opening with the embedded key context of ${names.map(printable).join(", ")}`)
  return true
}

/** Node reads each invalid byte of an argument as U+FFFD, so that different arguments would become one context. */
function checkText(code: FailureCode, what: string, text: string): void {
  if (!text.includes("\uFFFD")) return
  throw new KeyfoldError(code, `${what} is not valid UTF-8, or holds U+FFFD: give it as UTF-8 text`)
}
