import {
  bindingFor,
  bindValidated,
  type Check,
  type CmkProvider,
  checkOneTenant,
  type Report,
  validateCmk,
  withProof,
} from "@keyfold/byok"
import { type KekFacts, KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import type { PortalOptions, ProviderId } from "./clouds.ts"
import type { GivenKey } from "./key-form.ts"
import type { PortalTenant } from "./link.ts"

/** How a set-up or a check ended. */
export type Outcome = {
  /** Undefined where the key was refused before any call. */
  readonly report: Report | undefined
  /** The binding, where the key is in use. */
  readonly binding: Binding | undefined
  /** Why it is not in use although no check failed. */
  readonly refusal: string | undefined
}

export type Watching = {
  readonly onCheck: (check: Check) => void
  /** Ends the validation; what passed it is bound all the same. */
  readonly signal: AbortSignal
}

/**
 * Validates the key and, where no check failed, binds the tenant's pairs to it and lets it route. In the place of a key
 * that was bound before, which goes into history.
 * @throws KeyfoldError `ABORTED`, or what a store fails with
 */
export async function setUpKey(
  { clouds, bindings, environment }: PortalOptions,
  tenant: PortalTenant,
  providerId: ProviderId,
  { keyId, options }: GivenKey,
  { onCheck, signal }: Watching,
): Promise<Outcome> {
  const cloud = clouds[providerId]
  if (cloud === undefined) throw new KeyfoldError("INVALID_ARGUMENT", "this cloud is not offered")
  const { match, owner, expectedRegion } = tenant
  let report: Report | undefined
  try {
    checkOneTenant({ provider: providerId, keyId, owner, options }, await bindings.read())
    const provider = await cloud.provider()
    const { principal } = cloud
    const asked = { keyId, options, owner, match, expectedRegion }
    report = await validateCmk(provider, asked, { onCheck, signal, principal, environment })
    if (report.result === "fail") return { report, binding: undefined, refusal: undefined }
    const validated = { match, owner, expectedRegion, report, ...(await fitting(provider, report, options)) }
    const binding = await bindings.change((existing, change) => bindValidated(validated, existing, change))
    return { report, binding, refusal: undefined }
  } catch (error) {
    if (!(error instanceof KeyfoldError) || !REFUSALS.has(error.code)) throw error
    return { report, binding: undefined, refusal: error.message }
  }
}

/** Validates the bound key again, and keeps the proof with its binding. @throws KeyfoldError as `setUpKey` */
export async function checkAgain(
  { clouds, bindings, environment }: PortalOptions,
  binding: Binding,
  { onCheck, signal }: Watching,
): Promise<Outcome> {
  const cloud = clouds[binding.provider as ProviderId]
  if (cloud === undefined) throw new KeyfoldError("INVALID_ARGUMENT", "this cloud is not offered")
  const { principal } = cloud
  const provider = await cloud.provider()
  const report = await validateCmk(provider, binding, { onCheck, signal, principal, environment })
  if (report.canary === undefined) return { report, binding, refusal: undefined }
  const proven = await bindings.change(async (existing, { save }) => {
    const now = bindingFor(binding.match, existing) ?? binding
    const kept = withProof(now, report)
    if (kept !== now) await save(kept)
    return kept
  })
  return { report, binding: proven, refusal: undefined }
}

/** The KEK that is bound; a symmetric key of Azure is used in a way of its own. What was asked of it is not asked twice. */
async function fitting(provider: CmkProvider, { keyId }: Report, given: GivenKey["options"]) {
  const facts: KekFacts = await provider.kek(keyId, given).describe({})
  const isSymmetric = provider.id === "azure-keyvault" && !facts.publicKey
  const options = isSymmetric ? { algorithm: "A256GCM", ...given } : given
  return { kek: { ...provider.kek(keyId, options), describe: async () => facts }, options }
}

/** What the administrator can do something about; everything else is the server's fault. */
const REFUSALS: ReadonlySet<string> = new Set([
  "INVALID_ARGUMENT",
  "AMBIGUOUS_BINDING",
  "PERMISSION_DENIED",
  "KEY_NOT_FOUND",
  "KEY_DISABLED",
  "THROTTLED",
  "UNAVAILABLE",
  "TIMEOUT",
])
