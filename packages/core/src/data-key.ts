import { fillRandom } from "@keyfold/core/crypto"
import { type KeyContext, parseContext } from "./context.ts"
import type { Engine, OpenOptions } from "./engine.ts"
import { KIND, type Policy } from "./envelope.ts"
import type { Operation } from "./kek-call.ts"
import { DATA_KEY_BYTES, formatter, type Output, openPayload, sameForm, sealPayload } from "./message.ts"

export type GenerateDataKeyOptions = {
  readonly context: KeyContext
  readonly policy?: Policy
  /** The form of `sealed`: bytes (default) or base64url. */
  readonly output?: Output
  readonly signal?: AbortSignal
}

export type RekeyOptions = OpenOptions & {
  /** The context to seal the data key under from now on. */
  readonly newContext: KeyContext
  /** The policy of the new blob; `all` where none is given. */
  readonly policy?: Policy
}

/** A data key for the caller's own use. Wipe `key` when done. */
export type DataKey = { readonly key: Uint8Array; readonly context: KeyContext }
/** A new data key, and the blob that gives it back. Keep `sealed`, use and wipe `key`. */
export type GeneratedDataKey<Sealed> = { readonly key: Uint8Array; readonly sealed: Sealed }

export async function generateDataKey(
  engine: Engine,
  operation: Operation,
  options: GenerateDataKeyOptions,
): Promise<GeneratedDataKey<Uint8Array | string>> {
  const format = formatter(options.output)
  const context = parseContext(options.context)
  const key = new Uint8Array(DATA_KEY_BYTES)
  fillRandom(key)
  try {
    const sealed = await sealPayload(engine, operation, key, context, KIND.dataKey, seals(options))
    return { key, sealed: format(sealed) }
  } catch (error) {
    key.fill(0)
    throw error
  }
}

export async function decryptDataKey(
  engine: Engine,
  operation: Operation,
  sealed: Uint8Array | string,
  options: OpenOptions,
): Promise<DataKey> {
  const { plaintext, context } = await openPayload(engine, operation, sealed, KIND.dataKey, options)
  return { key: plaintext, context }
}

/** The same data key in a new blob, under a new context. The old blob stays readable by who may read it. */
export async function rekeyDataKey(
  engine: Engine,
  operation: Operation,
  sealed: Uint8Array | string,
  options: RekeyOptions,
): Promise<Uint8Array | string> {
  const newContext = parseContext(options.newContext)
  const { key } = await decryptDataKey(engine, operation, sealed, options)
  try {
    return sameForm(
      sealed,
      await sealPayload(engine, operation, key, newContext, KIND.dataKey, seals(options)),
    )
  } finally {
    key.fill(0)
  }
}

/** A sealed data key always says its context. */
function seals({ policy }: { readonly policy?: Policy }): { policy?: Policy; embedContext: true } {
  return { ...(policy !== undefined && { policy }), embedContext: true }
}
