import { fillRandom } from "@keyfold/core/crypto"
import type { ParsedContext } from "./context.ts"
import {
  IMMUTABLE_BYTES,
  identityOf,
  lowestBit,
  MANAGED_WRAPPED_BYTES,
  POLICY_BYTE,
  type Policy,
  SALT_OFFSET,
  type Wrap,
} from "./envelope.ts"
import { KeyfoldError } from "./errors.ts"
import { worstFailure } from "./failure-order.ts"
import type { Kek, WrapRecord } from "./kek.ts"
import { MANAGED_PROVIDER_ID } from "./kek.ts"
import { callWrap, type Operation } from "./kek-call.ts"
import { lend } from "./memory.ts"
import type { RouteEntry } from "./route.ts"
import { BINDING_BYTES, type EnvelopeBinding, ROLE, SUITE, wrapBinding } from "./wrap-binding.ts"

/** Length of a DEK, and of a share of it, in bytes. */
export const DEK_BYTES = 32

/**
 * Wraps a DEK under every entry of a route, all at once (design.md, law 3). The entries cover each pair once, so they are
 * ten at the most and have no more than the 20 wraps that an envelope can hold.
 * @throws KeyfoldError `INVALID_ARGUMENT` where the route refuses the policy, or what a KEK failed with
 */
export function wrapDek(
  operation: Operation,
  dek: Uint8Array,
  immutable: Uint8Array,
  context: ParsedContext,
  policy: Policy,
  entries: readonly RouteEntry[],
): readonly Wrap[] | Promise<readonly Wrap[]> {
  checkPolicy(policy, entries)
  const slots = slotsOf(entries)
  for (const { kek } of slots) identityOf(kek)
  const shares = sharesOf(dek, policy, slots)
  const of: EnvelopeBinding = {
    suite: SUITE,
    kind: immutable[6] as number,
    policy: POLICY_BYTE[policy],
    wrapCount: slots.length,
    salt: immutable.subarray(SALT_OFFSET, IMMUTABLE_BYTES),
    contextDigest: context.digest,
  }
  let pending = false
  const answers = slots.map(({ kek, entry, role }, slot) => {
    const { mask, covered, owner } = entry
    const binding = wrapBinding(of, mask, slot, role, lend(kek, BINDING_BYTES))
    const answer = callWrap(operation, kek, shares[slot] as Uint8Array, { binding, covered, owner })
    if (answer instanceof Promise) pending = true
    return answer
  })
  const finish = (results: readonly (WrapRecord | KeyfoldError)[]): readonly Wrap[] => {
    for (const share of shares) share.fill(0)
    return collect(slots, results)
  }
  if (!pending) return finish(answers as (WrapRecord | KeyfoldError)[])
  return Promise.all(answers).then(finish)
}

/**
 * Whether `any` may stand over these entries: not over a mix of CMKs and managed KEKs, or of owners, and not with a
 * public-key wrap, for then one of them could open, or make, what another's owner has revoked.
 */
export function allowsAny(entries: readonly RouteEntry[]): boolean {
  const first = entries[0] as RouteEntry
  return entries.every(
    (entry) =>
      entry.companion === undefined &&
      entry.owner === first.owner &&
      (entry.kek.providerId === MANAGED_PROVIDER_ID) === (first.kek.providerId === MANAGED_PROVIDER_ID),
  )
}

type Slot = { readonly kek: Kek; readonly entry: RouteEntry; readonly role: number }

/** Entries ordered by their lowest pair, a companion directly after its CMK. */
function slotsOf(entries: readonly RouteEntry[]): readonly Slot[] {
  const slots: Slot[] = []
  const ordered = isOrdered(entries)
    ? entries
    : entries.toSorted((a, b) => lowestBit(a.mask) - lowestBit(b.mask))
  for (const entry of ordered) {
    slots.push({ kek: entry.kek, entry, role: ROLE.direct })
    if (entry.companion !== undefined) slots.push({ kek: entry.companion, entry, role: ROLE.companion })
  }
  return slots
}

function isOrdered(entries: readonly RouteEntry[]): boolean {
  for (let i = 1; i < entries.length; i++) {
    if (lowestBit((entries[i - 1] as RouteEntry).mask) >= lowestBit((entries[i] as RouteEntry).mask))
      return false
  }
  return true
}

function checkPolicy(policy: Policy, entries: readonly RouteEntry[]): void {
  if (policy === "any" && !allowsAny(entries)) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      'this key context routes to a customer\'s key beside other keys, so that "any" would let one of them open ' +
        'what the customer revokes: use policy: "all"',
    )
  }
}

/**
 * What each KEK is lent, as a copy: under `all` n shares whose XOR is the DEK, any n - 1 of them random; under `any` the
 * DEK.
 */
function sharesOf(dek: Uint8Array, policy: Policy, slots: readonly Slot[]): readonly Uint8Array[] {
  const shares = slots.map(({ kek }) => lend(kek, DEK_BYTES))
  const last = shares[slots.length - 1] as Uint8Array
  last.set(dek)
  for (let i = 0; i < slots.length - 1; i++) {
    const share = shares[i] as Uint8Array
    if (policy === "any") {
      share.set(dek)
      continue
    }
    fillRandom(share)
    for (let byte = 0; byte < DEK_BYTES; byte++) {
      last[byte] = (last[byte] as number) ^ (share[byte] as number)
    }
  }
  return shares
}

function collect(slots: readonly Slot[], results: readonly (WrapRecord | KeyfoldError)[]): readonly Wrap[] {
  const wraps: Wrap[] = []
  const failures: KeyfoldError[] = []
  for (let slot = 0; slot < slots.length; slot++) {
    const result = results[slot] as WrapRecord | KeyfoldError
    if (result instanceof KeyfoldError) {
      failures.push(result)
      continue
    }
    const { kek, entry, role } = slots[slot] as Slot
    const { keyVersion, leased, wrapped } = result
    checkRecord(result, kek, role)
    const identity = identityOf(kek)
    wraps.push({ identity, keyVersion, mask: entry.mask, role: leased ? ROLE.leased : role, leased, wrapped })
  }
  if (failures.length > 0) throw worstFailure(failures, "all")
  return wraps
}

/** A record that the format cannot hold would be lost data: refuse what a faulty provider gives. */
function checkRecord({ keyVersion, leased, wrapped }: WrapRecord, kek: Kek, role: number): void {
  const managed = kek.providerId === MANAGED_PROVIDER_ID
  const versionFits =
    Number.isInteger(keyVersion) && keyVersion >= (managed ? 1 : 0) && keyVersion <= 0xffffffff
  const bytesFit = wrapped instanceof Uint8Array && (!managed || wrapped.length === MANAGED_WRAPPED_BYTES)
  if (versionFits && bytesFit && (!leased || (!managed && role === ROLE.direct))) return
  throw new KeyfoldError("UNKNOWN", `the ${kek.providerId} provider gave a wrap that no envelope can hold`, {
    providerId: kek.providerId,
    keyId: kek.keyId,
  })
}
