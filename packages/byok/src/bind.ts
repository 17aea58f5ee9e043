import { randomBytes } from "node:crypto"
import { type Kek, type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"
import { equalBytes } from "@keyfold/core/crypto"
import { activateBinding, addBinding, type Binding, type ChangeOptions, replaceKey } from "@keyfold/router"
import { checkOneTenant, withProof } from "./lifecycle.ts"
import type { Report } from "./report.ts"

/** A key that a validation has vouched for, and what it is to serve. */
export type ValidatedKey = {
  readonly match: KeyContext
  readonly owner: string
  readonly kek: Kek
  /** Those with which the provider made the KEK. */
  readonly options: Readonly<Record<string, unknown>>
  readonly expectedRegion?: string | undefined
  /** As it was, or 0, unless told. */
  readonly leaseTtlMs?: number | undefined
  /** Of this key, with these options. */
  readonly report: Report
}

/**
 * Binds a match to a validated key, and lets that route at once. Where another key is bound to the match, this one takes
 * its place, and that one goes into history. Whatever is saved has the proof in it: a change that was cut off leaves a
 * verified binding, and the same call completes it.
 * @param existing every binding there is, removed ones too
 * @throws KeyfoldError `INVALID_ARGUMENT` for a report that failed or is of another key, or for another tenant's key; or
 * what the KMS or a store fails with
 */
export async function bindValidated(
  { match, owner, kek, options, report, expectedRegion, leaseTtlMs }: ValidatedKey,
  existing: readonly Binding[],
  unproven: ChangeOptions,
): Promise<Binding> {
  if (report.result === "fail" || report.canary === undefined || report.keyId !== kek.keyId) {
    throw new KeyfoldError("INVALID_ARGUMENT", "only a key that has passed a validation is bound")
  }
  checkOneTenant({ provider: kek.providerId, keyId: kek.keyId, owner, options }, existing)
  const change = { ...unproven, save: (each: Binding) => unproven.save(withProof(each, report)) }
  const former = bindingFor(match, existing)
  if (former === undefined || former.state === "removed") {
    const id = former?.id ?? `binding-${randomBytes(6).toString("hex")}`
    const draft = {
      id,
      match,
      owner,
      options,
      expectedRegion,
      leaseTtlMs: leaseTtlMs ?? 0,
      state: "pending",
    } as const
    const pending = await addBinding(draft, kek, existing, change)
    return activateBinding(pending, existing, change)
  }
  if (owner !== former.owner) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "the owner of a binding never changes: remove it first, and add it anew",
    )
  }
  // With the key it has, this changes how it is reached, and its leases.
  const leases = leaseTtlMs === undefined ? {} : { leaseTtlMs }
  const key = { kek, options, expectedRegion: expectedRegion ?? former.expectedRegion }
  const bound = await replaceKey({ ...former, ...leases }, key, existing, change)
  return bound.state === "active" ? bound : activateBinding(bound, existing, change)
}

/** The binding of exactly these pairs, removed or not. */
export function bindingFor(match: KeyContext, existing: readonly Binding[]): Binding | undefined {
  const { canonical } = parseContext(match)
  return existing.find((each) => equalBytes(parseContext(each.match).canonical, canonical))
}

/**
 * The owner of a key unless somebody names one: the match itself, so that one key is not bound for two customers by
 * accident.
 * @throws KeyfoldError `INVALID_ARGUMENT` where that is too long for an owner
 */
export function ownerOf(match: KeyContext): string {
  const owner = Object.entries(match)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .sort()
    .join(",")
  if (owner.length <= MAX_OWNER) return owner
  throw new KeyfoldError("INVALID_ARGUMENT", "this match is too long to name an owner: name one")
}

/** What the router takes of an owner, in bytes; encoded, each is a character. */
const MAX_OWNER = 1024
