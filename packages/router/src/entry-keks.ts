import {
  type FailureCode,
  type Kek,
  type KekProvider,
  KeyfoldError,
  MANAGED_PROVIDER_ID,
  type Pair,
} from "@keyfold/core"
import { LRUCache } from "lru-cache"
import type { Binding, KeyEntry } from "./binding.ts"
import { leased } from "./leased.ts"
import type { ManagedKeks } from "./managed-keks.ts"
import { invalid, shown } from "./plain-data.ts"
import { type ResilienceOptions, resilient } from "./resilient.ts"

/**
 * The KEKs of bindings and of their history, each CMK behind retries, a breaker and leases. Equal entries have one KEK,
 * so that what those keep outlives the list an entry was read from. One that cannot be made is there all the same: it is matched, and fails when it is used.
 */
export class EntryKeks {
  readonly #managed: ManagedKeks | undefined
  readonly #providers: ReadonlyMap<string, KekProvider>
  readonly #environment: string
  readonly #resilience: ResilienceOptions | false
  readonly #made = new LRUCache<string, Kek>({ max: MAX_MADE })

  /** @throws KeyfoldError `INVALID_ARGUMENT` where two providers have one id, or one has that of managed KEKs */
  constructor(
    managed: ManagedKeks | undefined,
    providers: readonly KekProvider[],
    environment: string,
    resilience: ResilienceOptions | false,
  ) {
    this.#managed = managed
    this.#providers = new Map(providers.map((provider) => [provider.id, provider]))
    this.#environment = environment
    this.#resilience = resilience
    if (this.#providers.size !== providers.length)
      throw invalid("two providers have the same id: give each once")
    if (this.#providers.has(MANAGED_PROVIDER_ID)) throw invalid("the managed provider is the option managed")
  }

  of(entry: KeyEntry, covered: readonly Pair[]): Kek {
    const { provider, keyId, owner, options, leaseTtlMs } = entry
    if (provider === MANAGED_PROVIDER_ID) return this.managed(keyId, covered)
    const key = JSON.stringify([provider, keyId, owner, options, leaseTtlMs, covered])
    const known = this.#made.get(key)
    if (known !== undefined) return known
    const kek = this.#make(entry, covered)
    this.#made.set(key, kek)
    return kek
  }

  managed(keyId: string, covered: readonly Pair[]): Kek {
    if (this.#managed !== undefined) return this.#managed.kek(keyId)
    const key = { provider: MANAGED_PROVIDER_ID, keyId }
    return new RefusingKek(key, covered, "NO_ROUTE", "it needs the managed provider: give it to createRouter")
  }

  #make(entry: KeyEntry, covered: readonly Pair[]): Kek {
    const provider = this.#providers.get(entry.provider)
    if (provider === undefined) {
      return new RefusingKek(
        entry,
        covered,
        "NO_ROUTE",
        `give the provider "${entry.provider}" to createRouter`,
      )
    }
    try {
      const native = provider.kek(entry.keyId, entry.options)
      if (native.providerId === entry.provider && native.keyId === entry.keyId) {
        const kek = this.#resilience === false ? native : resilient(native, this.#resilience)
        const { owner, leaseTtlMs: ttlMs } = entry
        return leased(kek, { owner, covered, environment: this.#environment, ttlMs })
      }
    } catch (error) {
      const code = error instanceof KeyfoldError ? error.code : "UNKNOWN"
      const why = error instanceof KeyfoldError ? error.message : "its provider failed; see the cause"
      return new RefusingKek(entry, covered, code, why, error)
    }
    return new RefusingKek(
      entry,
      covered,
      "INVALID_ARGUMENT",
      "its provider names it otherwise: keep the key id that the provider's kek has",
    )
  }
}

/** The KEK of a disabled binding: a candidate that is matched and refuses. */
export function disabledKek({ id, provider, keyId }: Binding, covered: readonly Pair[]): Kek {
  const why = `the binding ${id} is disabled: activate it to use this data`
  return new RefusingKek({ provider, keyId }, covered, "KEY_DISABLED", why)
}

/** Fails whatever it is asked, always with the same code. */
export class RefusingKek implements Kek {
  readonly providerId: string
  readonly keyId: string
  readonly #refusal: () => KeyfoldError

  constructor(
    { provider, keyId }: Pick<KeyEntry, "provider" | "keyId">,
    covered: readonly Pair[],
    code: FailureCode,
    why: string,
    cause?: unknown,
  ) {
    this.providerId = provider
    this.keyId = keyId
    const pairNames = covered.map(({ name }) => name)
    const message = `the ${provider} key ${keyId} for ${shown(pairNames)} cannot be used: ${why}`
    this.#refusal = () => new KeyfoldError(code, message, { providerId: provider, keyId, pairNames, cause })
  }

  wrap(): never {
    throw this.#refusal()
  }

  unwrap(): never {
    throw this.#refusal()
  }

  async describe(): Promise<never> {
    throw this.#refusal()
  }

  classify(error: unknown): FailureCode {
    return error instanceof KeyfoldError ? error.code : "UNKNOWN"
  }
}

/** About half a kilobyte each. */
const MAX_MADE = 10_000
