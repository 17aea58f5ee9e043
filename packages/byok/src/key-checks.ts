import type { Kek, KekFacts, KeyfoldError } from "@keyfold/core"
import type { Canary } from "@keyfold/router"
import { opensCanary, opensForeignCanary, sampleContext, wrapCanary } from "./canary.ts"
import type { Findings } from "./findings.ts"
import { FINAL, reasonOf, stateProblem } from "./reason.ts"
import type { CheckId } from "./report.ts"
import type { CmkOptions, Validation } from "./validate.ts"

/** One key in one region. */
export type KeyInRegion = {
  readonly kek: Kek
  readonly options: CmkOptions
  /** Named in the checks where the key has several. */
  readonly region: string | null
  readonly expectedRegion?: string | undefined
  /** What the first region wrapped: this one must open it, for it may have to one day. */
  readonly canary?: Canary | undefined
}

/** Describes a key, and uses it as keyfold will: six requests at most for one that answers. */
export async function checkKey(
  validation: Validation,
  key: KeyInRegion,
): Promise<{ readonly facts: KekFacts | undefined; readonly canary: Canary | undefined }> {
  const { probe, findings } = validation
  const { kek } = key
  findings.region = key.region
  try {
    const described = await probe.ask((options) => kek.describe(options), kek.classify)
    const facts = described.ok ? described.value : undefined
    if (described.ok) {
      findings.pass("authenticate", "the cloud knows who calls")
      findings.pass("describe", `it is a key ${described.value.algorithm}`)
      checkFacts(validation, described.value, key)
    } else if (tellUndescribed(findings, described.failure) === "final") {
      return { facts, canary: undefined }
    }
    const problem = facts && stateProblem(validation.provider.id, facts.state)?.message
    const broken = problem ?? (facts?.canWrap === false ? "keyfold cannot use a key of this kind" : undefined)
    if (broken !== undefined) {
      for (const id of USES) findings.skip(id, broken)
      return { facts, canary: undefined }
    }
    const fitting = facts === undefined ? key : fitted(validation, facts, key)
    await hint(validation, fitting)
    return { facts, canary: await use(validation, fitting) }
  } finally {
    findings.region = null
  }
}

/** Says why nothing is known of a key, and whether it can be used all the same: only `describe` may be denied. */
function tellUndescribed(findings: Findings, failure: KeyfoldError): "final" | "usable" {
  const reason = reasonOf(failure)
  const rest = FINAL.has(reason) ? USES : []
  if (reason === "CREDENTIALS_REFUSED" || reason === "ROLE_DENIED") {
    findings.failure("authenticate", failure)
    for (const id of ["describe", ...FACTS, ...rest] as const) findings.skip(id, "nobody could ask")
    return "final"
  }
  if (rest.length > 0 && reason !== "KEY_NOT_FOUND") {
    findings.skip("authenticate", "there was no answer that would tell")
  } else findings.pass("authenticate", "the cloud knows who calls")
  findings.failure("describe", failure)
  for (const id of [...FACTS, ...rest]) findings.skip(id, "the key could not be described")
  return rest.length > 0 ? "final" : "usable"
}

function checkFacts(
  { provider, findings }: Validation,
  facts: KekFacts,
  { expectedRegion }: KeyInRegion,
): void {
  const problem = stateProblem(provider.id, facts.state)
  if (problem !== undefined && facts.state === "unavailable" && !facts.canWrap) {
    findings.skip("state", "a key of another kind can have no state of its own")
  } else if (problem !== undefined) {
    findings.fail("state", { ...problem, side: "key" })
  } else if (facts.state === "unknown") {
    const message = "the cloud did not say in which state the key is"
    findings.warn("state", { reason: "KEY_STATE_UNKNOWN", message, side: "key" })
  } else findings.pass("state", "the key is enabled")

  if (facts.canWrap) findings.pass("usage", "keyfold can wrap and unwrap with it")
  else {
    const message = `keyfold cannot wrap and unwrap with a key ${facts.algorithm} as it is permitted to be used`
    const fix = RIGHT_USAGE[provider.id] ?? "use a key that encrypts and decrypts"
    findings.fail("usage", { reason: "WRONG_KEY_USAGE", code: "INVALID_ARGUMENT", message, side: "key", fix })
  }

  const { region } = facts
  if (expectedRegion === undefined) findings.skip("region", "no region is expected")
  else if (region === expectedRegion) findings.pass("region", `the key is in ${region}`)
  else if (region === undefined) {
    const message = "the cloud does not say where the key is"
    const fix = "look it up in the cloud's own console"
    findings.warn("region", { reason: "REGION_UNKNOWN", message, side: "key", fix })
  } else {
    const message = `the key is in ${region}, and ${expectedRegion} is expected`
    const fix = `use a key in ${expectedRegion}, or expect ${region}`
    findings.fail("region", { reason: "WRONG_REGION", code: "INVALID_ARGUMENT", message, side: "key", fix })
  }

  const { expiresAt } = facts
  if (expiresAt === undefined) findings.pass("expiry", "the key has no expiry date")
  else if (expiresAt.getTime() - Date.now() > SOON_MS || facts.state === "expired") {
    findings.pass("expiry", `it is set to ${expiresAt.toISOString()}`)
  } else {
    const message = `the key expires at ${expiresAt.toISOString()}; from then on nothing new can be encrypted`
    const fix = "move the date, or make a new version and bind that"
    findings.warn("expiry", { reason: "EXPIRES_SOON", message, side: "key", fix })
  }

  if (facts.purgeProtected === undefined) findings.skip("purge-protection", "the cloud does not say")
  else if (facts.purgeProtected) findings.pass("purge-protection", "nobody can destroy the key at once")
  else {
    const message = "whoever may purge can destroy the key, and all data under it, at once"
    const fix = "turn purge protection on in the vault"
    findings.warn("purge-protection", { reason: "NO_PURGE_PROTECTION", message, side: "key", fix })
  }

  if (facts.automaticRotation === undefined)
    findings.skip("rotation", "the cloud does not say, or only to others")
  else if (facts.automaticRotation) findings.pass("rotation", "the key is rotated by its cloud")
  else {
    const message = "the key is not rotated by its cloud"
    findings.warn("rotation", { reason: "NO_ROTATION", message, side: "key", fix: "set a rotation period" })
  }
}

/** A symmetric key of Azure wraps otherwise than an RSA key, unless it was told how. */
function fitted({ provider }: Validation, facts: KekFacts, key: KeyInRegion): KeyInRegion {
  const isSymmetric = provider.id === "azure-keyvault" && !facts.publicKey
  if (!isSymmetric || key.options.algorithm !== undefined) return key
  const options = { ...key.options, algorithm: "A256GCM" }
  return { ...key, options, kek: provider.kek(key.kek.keyId, options) }
}

/** What the cloud foretells: shown, and never taken for proof. */
async function hint(
  { provider, scope, probe, findings }: Validation,
  { kek, options }: KeyInRegion,
): Promise<void> {
  if (provider.hintDenials === undefined) return findings.skip("permissions", "this cloud gives no hints")
  const ask = provider.hintDenials.bind(provider)
  const context = sampleContext(kek, scope)
  const hints = await probe.ask((call) => ask(kek.keyId, options, context, call))
  if (!hints.ok) return findings.failure("permissions", hints.failure, { status: "warn" })
  if (hints.value.length === 0) findings.pass("permissions", "by the cloud's hint none is missing")
  for (const denial of hints.value) {
    findings.failure("permissions", denial, { status: "warn", message: `a hint: ${denial.message}` })
  }
}

/** A canary there and back; then again where it must be refused. */
async function use({ scope, probe, findings }: Validation, key: KeyInRegion): Promise<Canary | undefined> {
  const { kek } = key
  const wrapped = await probe.ask((options) => wrapCanary(kek, scope, options), kek.classify)
  if (!wrapped.ok) {
    findings.failure("wrap", wrapped.failure)
    for (const id of AFTER_WRAP) findings.skip(id, "there is nothing to open")
    return undefined
  }
  findings.pass("wrap", "the key wrapped a canary under the tenant's context")
  const canary = key.canary ?? wrapped.value
  const opened = await probe.ask((options) => opensCanary(kek, canary, scope, options), kek.classify)
  if (!opened.ok || !opened.value) {
    if (!opened.ok) findings.failure("unwrap", opened.failure)
    else {
      const message = "the key opened the canary to something else"
      findings.fail("unwrap", { reason: "CANARY_LOST", code: "DECRYPTION_FAILED", message, side: "network" })
    }
    for (const id of AFTER_UNWRAP) findings.skip(id, "the canary did not open")
    return undefined
  }
  findings.pass("unwrap", "the key opened it again")
  const foreign = await probe.ask((options) => opensForeignCanary(kek, canary, scope, options), kek.classify)
  if (foreign.ok) {
    const message = "the key opened the canary under another binding"
    const fix = "use the cloud's own service, and no replacement that ignores what it authenticates"
    const reason = "BINDING_NOT_ENFORCED"
    findings.fail("binding", { reason, code: "DECRYPTION_FAILED", message, side: "network", fix })
  } else if (foreign.failure.code === "DECRYPTION_FAILED") {
    findings.pass("binding", "another binding is refused")
  } else findings.failure("binding", foreign.failure)
  // Every provider compares the key id of each reply, and throws another key's answer away.
  findings.pass("reply-key", "each answer was about this key")
  const slowest = Math.round(Math.max(wrapped.ms, opened.ms))
  if (slowest <= SLOW_MS) findings.pass("latency", `wrap and unwrap took ${slowest} ms at most`)
  else {
    const message = `wrap or unwrap took ${slowest} ms, and every encryption waits for one`
    const fix = "use a key near to keyfold, or turn leases on"
    findings.warn("latency", { reason: "SLOW", message, side: "network", fix })
  }
  return canary
}

const AFTER_UNWRAP: readonly CheckId[] = ["binding", "reply-key", "latency"]
const AFTER_WRAP: readonly CheckId[] = ["unwrap", ...AFTER_UNWRAP]
const USES: readonly CheckId[] = ["permissions", "wrap", ...AFTER_WRAP]
const FACTS: readonly CheckId[] = ["state", "usage", "region", "expiry", "purge-protection", "rotation"]
const RIGHT_USAGE: Readonly<Record<string, string>> = {
  "aws-kms": "use a symmetric key with the key usage ENCRYPT_DECRYPT",
  "azure-keyvault":
    "use an RSA key, or a symmetric one of a Managed HSM, with wrapKey and unwrapKey among its permitted operations",
  "gcp-kms": "use a key with the purpose ENCRYPT_DECRYPT",
}
/** A quarter of a year is what a rotation takes to be planned; a month is the last moment. */
const SOON_MS = 30 * 86_400_000
/** Far above what a KMS in the same region takes, tens of milliseconds. */
const SLOW_MS = 1_000
