import {
  type Kek,
  type KekCallOptions,
  type KekFacts,
  KeyfoldError,
  parseContext,
  type WrapContext,
} from "@keyfold/core"
import type { Binding, Canary } from "@keyfold/router"
import type { CanaryScope } from "./canary.ts"
import { Findings } from "./findings.ts"
import { checkFormer, formerOf } from "./former-keys.ts"
import { checkKey } from "./key-checks.ts"
import { checkPlain } from "./policy.ts"
import { Probe } from "./probe.ts"
import { reasonOf } from "./reason.ts"
import type { Check, Report } from "./report.ts"

/** Where the key is; the provider packages of keyfold fit. */
export type CmkProvider = {
  readonly id: string
  kek(keyId: string, options: CmkOptions): Kek
  /** The id that a name, such as an alias, stands for today. */
  resolveKeyId?(name: string, options: CmkOptions, call: KekCallOptions): Promise<string>
  /** Denials that the cloud can foretell without using the key; AWS and Google can. */
  hintDenials?(
    keyId: string,
    options: CmkOptions,
    context: WrapContext,
    call: KekCallOptions,
  ): Promise<readonly KeyfoldError[]>
}

/** How a key is reached; typed by its provider. */
export type CmkOptions = Readonly<Record<string, unknown>>

/** What is validated: a binding, or one that is yet to be added. */
export type CmkBinding = Pick<Binding, "keyId" | "owner" | "match" | "options"> &
  Partial<Pick<Binding, "expectedRegion" | "history" | "canaries">>

export type ValidateOptions = {
  /** Ends the validation, which then throws; it leaves no call, no timer and no secret. */
  readonly signal?: AbortSignal | undefined
  /** Told of each check as it ends. What it throws is ignored. */
  readonly onCheck?: (check: Check) => void
  /** Bound of the whole, in milliseconds; 30,000 unless told. */
  readonly deadlineMs?: number
  /** Who keyfold is in that cloud, for the policy texts (`PolicyRequest`); a placeholder unless told. */
  readonly principal?: string | undefined
  /** That of the managed provider; `default` unless told. */
  readonly environment?: string
}

/**
 * Looks whether a customer's key can be used: what keyfold will do with it is done once, with a canary under the tenant's
 * own context. Whatever is wrong stands in the report, and is not thrown.
 *
 * It makes at most 12 requests for a key in one region, 2 more for each former key version, and 6 for each further region.
 * @throws KeyfoldError `ABORTED` by the signal, `INVALID_CONTEXT` and `INVALID_ARGUMENT` for a binding or option that is none
 */
export async function validateCmk(
  provider: CmkProvider,
  binding: CmkBinding,
  options: ValidateOptions = {},
): Promise<Report> {
  const { signal, onCheck, deadlineMs = 30_000, principal, environment = "default" } = options
  if (!Number.isInteger(deadlineMs) || deadlineMs < 1 || deadlineMs > MAX_DEADLINE_MS) {
    throw new KeyfoldError("INVALID_ARGUMENT", "deadlineMs is a whole number from 1 to 600,000")
  }
  if (principal !== undefined) checkPlain("principal", principal)
  const scope = { owner: binding.owner, match: parseContext(binding.match).object, environment }
  const former = formerOf(provider.id, binding)
  const regions = replicasOf(binding.options)
  const probe = new Probe(
    MAX_CALLS + MAX_CALLS_FORMER * former.length + MAX_CALLS_REGION * regions.length,
    deadlineMs,
    signal,
  )
  const findings = new Findings(provider.id, binding, principal, onCheck)
  const validation = { provider, binding, scope, probe, findings }
  const keyId = await checkKeyId(validation)
  const canary = keyId === undefined ? undefined : await checkAll(validation, keyId, former, regions)
  return findings.report(probe, keyId ?? binding.keyId, canary)
}

/** What every check needs. */
export type Validation = {
  readonly provider: CmkProvider
  readonly binding: CmkBinding
  readonly scope: CanaryScope
  readonly probe: Probe
  readonly findings: Findings
}

async function checkAll(
  validation: Validation,
  keyId: string,
  former: ReturnType<typeof formerOf>,
  regions: readonly string[],
): Promise<Canary | undefined> {
  const { provider, binding, findings } = validation
  // Each region is asked by itself: with its replicas the provider would pass over one that is out.
  const { replicaKeyIds: _, ...options } = binding.options
  const kek = provider.kek(keyId, options)
  const { expectedRegion } = binding
  const first = await checkKey(validation, { kek, options, region: null, expectedRegion })
  await checkExternalId(validation, keyId, options, first.facts)
  await checkFormer(validation, former)
  for (const replicaKeyId of regions) {
    const { region: _, ...elsewhere } = options
    const replica = provider.kek(replicaKeyId, elsewhere)
    const region = replicaKeyId.split(":")[3] ?? replicaKeyId
    await checkKey(validation, { kek: replica, options: elsewhere, region, canary: first.canary })
  }
  return findings.hasFailed() ? undefined : first.canary
}

/** The id in its normal form, by the provider's own rules; a name is resolved, once. */
async function checkKeyId({ provider, binding, probe, findings }: Validation): Promise<string | undefined> {
  const { keyId: given, options } = binding
  let refusal = refusalOf(provider, given, options)
  let keyId = given
  if (refusal !== undefined && provider.resolveKeyId !== undefined) {
    const resolve = provider.resolveKeyId.bind(provider)
    const answer = await probe.ask((call) => resolve(given, options, call))
    if (answer.ok) {
      keyId = answer.value
      refusal = refusalOf(provider, keyId, options)
    } else if (answer.failure.code !== "INVALID_ARGUMENT") {
      findings.failure("key-id", answer.failure)
      findings.skipRest("key-id", "the name of the key could not be resolved")
      return undefined
    }
  }
  if (refusal === undefined) {
    findings.pass("key-id", keyId === given ? "the key id has its normal form" : `it stands for ${keyId}`)
    return keyId
  }
  const reason = NORMAL_FORMS[provider.id]?.test(keyId) ? "INVALID_KEY_OPTION" : "MALFORMED_KEY_ID"
  const { code, message } = refusal
  const fix = "correct the key id, or the options that go with it"
  findings.fail("key-id", { reason, code, message, side: "key", fix })
  findings.skipRest("key-id", "the key id cannot be used")
  return undefined
}

function refusalOf(provider: CmkProvider, keyId: string, options: CmkOptions): KeyfoldError | undefined {
  try {
    provider.kek(keyId, options)
    return undefined
  } catch (error) {
    return error instanceof KeyfoldError
      ? error
      : new KeyfoldError("UNKNOWN", "the provider failed: see the cause", { cause: error })
  }
}

/** AWS: with its external id the role worked; without it, it must not. A role ARN alone is no secret. */
async function checkExternalId(
  { provider, probe, findings }: Validation,
  keyId: string,
  { externalId, ...without }: CmkOptions,
  facts: KekFacts | undefined,
): Promise<void> {
  const id = "external-id"
  if (provider.id !== "aws-kms") return findings.skip(id, "only AWS has external ids")
  if (without.roleArn === undefined) return findings.skip(id, "no role is assumed")
  if (externalId === undefined) {
    return findings.fail(id, {
      reason: "EXTERNAL_ID_MISSING",
      code: "INVALID_ARGUMENT",
      message: "the role is assumed without an external id: whoever learns its ARN could have keyfold use it",
      action: "sts:AssumeRole",
      side: "caller-identity",
      fix: "give this customer an external id, and have the role's trust policy require it",
    })
  }
  if (facts === undefined) return findings.skip(id, "the role could not be used with its external id")
  const kek = provider.kek(keyId, without)
  const answer = await probe.ask((options) => kek.describe(options), kek.classify)
  if (answer.ok) {
    return findings.fail(id, {
      reason: "EXTERNAL_ID_NOT_ENFORCED",
      code: "PERMISSION_DENIED",
      message: "the role can be assumed without the external id",
      action: "sts:AssumeRole",
      side: "key-policy",
      fix: "require the external id in the role's trust policy",
    })
  }
  if (reasonOf(answer.failure) === "ROLE_DENIED") {
    return findings.pass(id, "the role is not to be had without the external id")
  }
  return findings.failure(id, answer.failure)
}

function replicasOf({ replicaKeyIds }: CmkOptions): readonly string[] {
  return Array.isArray(replicaKeyIds) ? replicaKeyIds.map(String) : []
}

/** Only to tell which of id and options was refused: the providers judge. */
const NORMAL_FORMS: Readonly<Record<string, RegExp>> = {
  "aws-kms": /^arn:[\w-]+:kms:[\w-]+:\d{12}:key\/[\w-]+$/,
  "azure-keyvault": /^https:\/\/[^/]+\/keys\/[^/]+\/[0-9a-f]{32}$/,
  "gcp-kms": /^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+\/cryptoKeys\/[^/]+$/,
}
/** One key in one region needs 8 at most; the rest is for tries again after damage, and a deleted key's facts. */
const MAX_CALLS = 12
const MAX_CALLS_FORMER = 2
const MAX_CALLS_REGION = 6
/** As for the engine's own deadline. */
const MAX_DEADLINE_MS = 600_000
