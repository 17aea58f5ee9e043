import type { Kek } from "@keyfold/core"
import type { Canary } from "@keyfold/router"
import { opensCanary } from "./canary.ts"
import { stateProblem } from "./reason.ts"
import type { CmkBinding, CmkOptions, Validation } from "./validate.ts"

/** A former version of the key, or a former key of the binding, that data may still need. */
export type FormerKey = {
  readonly keyId: string
  readonly options: CmkOptions
  /** Undefined where none was kept: then only its state can be looked at. */
  readonly canary: Canary | undefined
}

/** The newest canary of each key version that was ever validated, and the former keys of the history without one. */
export function formerOf(
  provider: string,
  { keyId, options, history = [], canaries = [] }: CmkBinding,
): readonly FormerKey[] {
  const optionsOf = new Map<string, CmkOptions>([[keyId, options]])
  for (const entry of history) {
    if (entry.provider === provider && !optionsOf.has(entry.keyId)) optionsOf.set(entry.keyId, entry.options)
  }
  const newest = new Map<string, Canary>()
  for (const canary of canaries) {
    if (canary.provider === provider && optionsOf.has(canary.keyId)) {
      newest.set(`${canary.keyId} ${canary.keyVersion}`, canary)
    }
  }
  const proven = new Set([...newest.values()].map((canary) => canary.keyId))
  const unproven = [...optionsOf.keys()].filter((each) => each !== keyId && !proven.has(each))
  return [
    ...[...newest.values()].map((canary) => ({
      keyId: canary.keyId,
      options: optionsOf.get(canary.keyId) as CmkOptions,
      canary,
    })),
    ...unproven.map((each) => ({
      keyId: each,
      options: optionsOf.get(each) as CmkOptions,
      canary: undefined,
    })),
  ]
}

/** Each must still open what it wrapped: a key can wrap well and have lost its past. */
export async function checkFormer(validation: Validation, former: readonly FormerKey[]): Promise<void> {
  const { provider, scope, probe, findings } = validation
  const id = "former-versions"
  if (former.length === 0) return findings.skip(id, "none is recorded")
  for (const { keyId, options, canary } of former) {
    const kek = provider.kek(keyId, options)
    if (canary === undefined) {
      await lookAt(validation, kek)
      continue
    }
    const which = nameOf(canary)
    const opened = await probe.ask((call) => opensCanary(kek, canary, scope, call), kek.classify)
    if (opened.ok && opened.value) findings.pass(id, `${which} opens what it wrapped at ${canary.madeAt}`)
    else if (opened.ok || opened.failure.code === "DECRYPTION_FAILED") {
      const message = `${which} no longer opens what it wrapped at ${canary.madeAt}`
      const fix = "enable or restore that version: data under it is shut"
      const reason = "FORMER_VERSION_SHUT"
      findings.fail(id, { reason, code: "DECRYPTION_FAILED", message, side: "key", fix })
    } else if (opened.failure.retryable) findings.failure(id, opened.failure)
    else {
      const message = `${which} no longer opens what it wrapped: ${opened.failure.message}`
      findings.failure(id, opened.failure, { reason: "FORMER_VERSION_SHUT", message })
    }
  }
}

/** Without a canary its state is all there is to see. */
async function lookAt({ probe, findings }: Validation, kek: Kek): Promise<void> {
  const id = "former-versions"
  const described = await probe.ask((call) => kek.describe(call), kek.classify)
  if (!described.ok) return findings.failure(id, described.failure)
  const problem = stateProblem(kek.providerId, described.value.state)
  // An expired key still opens.
  if (problem !== undefined && problem.reason !== "KEY_EXPIRED") {
    const message = `of the former key ${kek.keyId}: ${problem.message}`
    return findings.fail(id, { ...problem, reason: "FORMER_VERSION_SHUT", message, side: "key" })
  }
  findings.warn(id, {
    reason: "FORMER_KEY_UNPROVEN",
    message: `the former key ${kek.keyId} is enabled; nothing was kept by which to see that it opens`,
    side: "key",
    fix: "open something that it wrapped, and rewrap it",
  })
}

function nameOf({ keyId, keyVersion }: Canary): string {
  return keyVersion === 0 ? `the key ${keyId}` : `version ${keyVersion} of the key ${keyId}`
}
