import type { KeyfoldError } from "@keyfold/core"
import type { Canary } from "@keyfold/router"
import { policyFor } from "./policy.ts"
import type { Probe } from "./probe.ts"
import { reasonOf } from "./reason.ts"
import type { Check, CheckId, Report } from "./report.ts"
import type { CmkBinding } from "./validate.ts"

/** What a finding says beside its id. */
export type Finding = Pick<Check, "reason" | "message"> & Partial<Omit<Check, "id" | "status">>

/** The checks as they end, in their order. */
export class Findings {
  readonly #checks: Check[] = []
  readonly #provider: string
  readonly #binding: CmkBinding
  readonly #principal: string | undefined
  readonly #onCheck: ((check: Check) => void) | undefined
  /** Of the key that is looked at. */
  region: string | null = null

  constructor(
    provider: string,
    binding: CmkBinding,
    principal: string | undefined,
    onCheck: ((check: Check) => void) | undefined,
  ) {
    this.#provider = provider
    this.#binding = binding
    this.#principal = principal
    this.#onCheck = onCheck
  }

  pass(id: CheckId, message: string): void {
    this.#add(id, "pass", { reason: "OK", message })
  }

  skip(id: CheckId, why: string): void {
    this.#add(id, "skipped", { reason: "NOT_CHECKED", message: why })
  }

  warn(id: CheckId, finding: Finding): void {
    this.#add(id, "warn", finding)
  }

  fail(id: CheckId, finding: Finding): void {
    this.#add(id, "fail", finding)
  }

  /** A failure of a KMS call, with what its provider says of it. */
  failure(id: CheckId, failure: KeyfoldError, finding: Partial<Finding> & { status?: "warn" } = {}): void {
    const { status = "fail", ...more } = finding
    const { code, message, action = null, side = null, fix = null } = failure
    this.#add(id, status, { reason: reasonOf(failure), code, message, action, side, fix, ...more })
  }

  /** Skips every check that comes after this one. */
  skipRest(after: CheckId, why: string): void {
    for (const id of ORDER.slice(ORDER.indexOf(after) + 1)) this.skip(id, why)
  }

  hasFailed(): boolean {
    return this.#checks.some(({ status }) => status === "fail")
  }

  report({ calls, maxCalls }: Probe, keyId: string, canary: Canary | undefined): Report {
    const has = (status: Check["status"]) => this.#checks.some((check) => check.status === status)
    const result = has("fail") ? "fail" : has("warn") ? "warn" : "pass"
    return { result, keyId, checks: this.#checks, calls, maxCalls, canary }
  }

  #add(id: CheckId, status: Check["status"], finding: Finding): void {
    const { reason, message, action = null, side = null, fix = null, code = null } = finding
    const policy = action === null ? null : this.#policyFor(action, side)
    const check: Check = {
      ...{ id, status, reason, message, action, side, fix, policy },
      propagationSeconds: policy === null ? null : (PROPAGATION_SECONDS[this.#provider] ?? null),
      ...{ region: this.region, code },
    }
    this.#checks.push(check)
    try {
      this.#onCheck?.(check)
    } catch {
      // An observer cannot make a validation fail, and has no way to be told.
    }
  }

  #policyFor(action: string, side: string | null): string | null {
    const { keyId, match, options } = this.#binding
    const request = {
      ...{ provider: this.#provider, keyId, match, principal: this.#principal ?? PRINCIPAL },
      ...{ roleArn: textOf(options.roleArn), externalId: textOf(options.externalId) },
      tenantId: textOf(options.tenantId),
    }
    return policyFor(request, action, side ?? undefined) ?? null
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}

const ORDER: readonly CheckId[] = [
  "key-id",
  "authenticate",
  "describe",
  "state",
  "usage",
  "region",
  "expiry",
  "purge-protection",
  "rotation",
  "permissions",
  "wrap",
  "unwrap",
  "binding",
  "reply-key",
  "latency",
  "external-id",
  "former-versions",
]
/** Stands for keyfold's identity where nobody said what it is. */
const PRINCIPAL = "KEYFOLD-PRINCIPAL"
/**
 * How long a change of permissions can take: AWS KMS Developer Guide, "Eventual consistency"; Azure RBAC,
 * "Troubleshoot"; Google Cloud IAM, "Access change propagation".
 */
const PROPAGATION_SECONDS: Readonly<Record<string, number>> = {
  "aws-kms": 300,
  "azure-keyvault": 600,
  "gcp-kms": 420,
}
