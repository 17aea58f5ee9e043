import { type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"

/** The key context of repeated `-c name=value`. @throws KeyfoldError `INVALID_CONTEXT` */
export function contextOf(pairs: readonly string[] | undefined): KeyContext {
  const context: Record<string, string> = Object.create(null)
  for (const [i, pair] of (pairs ?? []).entries()) {
    const at = pair.indexOf("=")
    if (at < 0)
      throw new KeyfoldError("INVALID_CONTEXT", `-c number ${i + 1} has no "=": write -c name=value`)
    const name = pair.slice(0, at)
    if (Object.hasOwn(context, name))
      throw new KeyfoldError("INVALID_CONTEXT", `-c number ${i + 1} repeats a name`)
    context[name] = pair.slice(at + 1)
  }
  return parseContext(context).object
}

export type OpeningOptions = { readonly context?: string[]; readonly authorizeEmbedded?: true }

/** How an envelope is to be opened, from `-c` and `--authorize-embedded`. */
export function openingOf({ context, authorizeEmbedded }: OpeningOptions) {
  if (context === undefined && !authorizeEmbedded) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "give the key context with -c name=value, or --authorize-embedded",
    )
  }
  return {
    ...(context !== undefined && { context: contextOf(context) }),
    ...(authorizeEmbedded && { authorize: () => true }),
  }
}

/** `--aad` as bytes. */
export function aadOf(aad: string | undefined): { aad?: Uint8Array } {
  return aad === undefined ? {} : { aad: new TextEncoder().encode(aad) }
}
