import { KeyfoldError } from "@keyfold/core"
import { activateBinding, type Binding, type Canary, type ChangeOptions, parseBinding } from "@keyfold/router"
import type { Report } from "./report.ts"
import { type CmkProvider, type ValidateOptions, validateCmk } from "./validate.ts"

/**
 * Validates a binding's key and, where nothing failed, keeps the proof with the binding: a pending one is then verified,
 * any other stays what it is. A key or an external id that serves another owner is refused before any call.
 * @param existing every binding there is, removed ones too
 * @returns the report, and the binding as it now is: unchanged where the report has a failure
 * @throws KeyfoldError `INVALID_ARGUMENT`, and as `validateCmk` and `save` do
 */
export async function verifyBinding(
  provider: CmkProvider,
  binding: Binding,
  existing: readonly Binding[],
  { save }: Pick<ChangeOptions, "save">,
  options: ValidateOptions = {},
): Promise<{ readonly binding: Binding; readonly report: Report }> {
  const parsed = parseBinding(binding).binding
  if (provider.id !== parsed.provider) throw invalid(`the binding ${parsed.id} needs ${parsed.provider}`)
  checkOneTenant(parsed, existing)
  const report = await validateCmk(provider, parsed, options)
  const proven = withProof(parsed, report)
  if (proven !== parsed) await save(proven)
  return { binding: proven, report }
}

/** The binding with what a report proved; the same object where it proved nothing about this key. */
export function withProof(binding: Binding, { result, keyId, canary }: Report): Binding {
  if (result === "fail" || canary === undefined || keyId !== binding.keyId) return binding
  const isSameVersion = (known: Canary) =>
    known.provider === canary.provider &&
    known.keyId === canary.keyId &&
    known.keyVersion === canary.keyVersion
  const canaries = [...binding.canaries.filter((known) => !isSameVersion(known)), canary]
  const state = binding.state === "pending" ? "verified" : binding.state
  return parseBinding({ ...binding, state, canaries }).binding
}

/**
 * Lets a verified binding route, or a disabled one again.
 * @param existing every binding there is, removed ones too
 * @throws KeyfoldError `INVALID_ARGUMENT` for one that was never verified, or whose proof is older than `maxProofAgeMs`
 * (a day unless told); or what a store fails with
 */
export async function activateVerified(
  binding: Binding,
  existing: readonly Binding[],
  change: ChangeOptions,
  { maxProofAgeMs = 86_400_000 }: { readonly maxProofAgeMs?: number } = {},
): Promise<Binding> {
  const parsed = parseBinding(binding).binding
  checkOneTenant(parsed, existing)
  if (parsed.state === "pending")
    throw invalid(`the binding ${parsed.id} is not verified: validate its key first`)
  if (parsed.state === "verified") {
    const proof = proofOf(parsed)
    if (proof === undefined || Date.now() - Date.parse(proof.madeAt) > maxProofAgeMs) {
      throw invalid(`the proof of the binding ${parsed.id} is too old: validate its key again`)
    }
  }
  return activateBinding(parsed, existing, change)
}

/** The newest canary of the binding's present key, if there is one. */
export function proofOf({ provider, keyId, canaries }: Pick<Binding, "provider" | "keyId" | "canaries">) {
  return canaries.findLast((canary) => canary.provider === provider && canary.keyId === keyId)
}

/**
 * One tenant's key, in whatever version or region, is bound for no other, and neither is its external id.
 * @throws KeyfoldError `INVALID_ARGUMENT`
 */
export function checkOneTenant(
  binding: Pick<Binding, "provider" | "keyId" | "owner" | "options">,
  existing: readonly Binding[],
): void {
  const keys = new Set(keysOf(binding))
  const { externalId } = binding.options
  for (const other of existing) {
    for (const entry of [other, ...other.history]) {
      if (entry.owner === binding.owner || entry.provider !== binding.provider) continue
      if (keysOf(entry).some((key) => keys.has(key))) {
        throw invalid("this key is, or was, bound for another owner: a key serves one owner only")
      }
      if (externalId !== undefined && entry.options.externalId === externalId) {
        throw invalid("this external id is another owner's: make one for each")
      }
    }
  }
}

/** The keys of an entry as their cloud knows them: a version of an Azure key, or a region of an AWS key, is the same. */
function keysOf({ keyId, options }: Pick<Binding, "keyId" | "options">): string[] {
  const replicas = Array.isArray(options.replicaKeyIds) ? options.replicaKeyIds.map(String) : []
  return [keyId, ...replicas].map((each) => {
    const [, account, id] = /^arn:[^:]+:kms:[^:]+:(\d{12}):key\/(mrk-.+)$/.exec(each) ?? []
    if (id !== undefined) return `${account} ${id}`
    return each.replace(/^(https:\/\/[^/]+\/keys\/[^/]+)\/[0-9a-f]{32}$/, (_, key: string) =>
      key.toLowerCase(),
    )
  })
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}
