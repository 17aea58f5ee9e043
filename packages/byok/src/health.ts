import type { KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import { opensCanary } from "./canary.ts"
import { proofOf } from "./lifecycle.ts"
import { Probe } from "./probe.ts"
import { reasonOf, stateProblem } from "./reason.ts"
import type { Reason } from "./report.ts"
import type { CmkProvider } from "./validate.ts"

/** How a bound key is now. */
export type Health = {
  /**
   * `unreachable` is an outage and no word about the key; `revoked` is the customer's, or its cloud's, answer: the data is
   * shut. `unknown` is a failure that has no name.
   */
  readonly state: "healthy" | "revoked" | "unreachable" | "unknown"
  readonly reason: Reason
  readonly message: string
  readonly fix: string | null
  /** Requests that the KMS got. */
  readonly calls: number
}

export type HealthOptions = {
  readonly signal?: AbortSignal | undefined
  /** In milliseconds; 10,000 unless told. */
  readonly deadlineMs?: number
  /** That of the managed provider; `default` unless told. */
  readonly environment?: string
}

/**
 * Asks whether a bound key still opens what it wrapped: one request, by the newest canary. Of a binding that was never
 * validated only the key's state is asked. It wraps nothing: a key that only lost that is found by a validation.
 * @throws KeyfoldError `ABORTED` by the signal
 */
export async function checkHealth(
  provider: CmkProvider,
  binding: Binding,
  { signal, deadlineMs = 10_000, environment = "default" }: HealthOptions = {},
): Promise<Health> {
  const probe = new Probe(MAX_CALLS, deadlineMs, signal)
  const canary = proofOf(binding)
  const { owner, match } = binding
  const answer = await probe.ask(async (options) => {
    const kek = provider.kek(binding.keyId, binding.options)
    if (canary !== undefined) {
      const isWhole = await opensCanary(kek, canary, { owner, match, environment }, options)
      return isWhole ? undefined : LOST
    }
    const problem = stateProblem(provider.id, (await kek.describe(options)).state)
    return problem?.reason === "KEY_EXPIRED" ? undefined : problem
  })
  const { calls } = probe
  if (!answer.ok) return { ...ofFailure(answer.failure), calls }
  if (answer.value !== undefined) {
    const { reason, message, fix, code } = answer.value
    return { state: code === "UNAVAILABLE" ? "unreachable" : "revoked", reason, message, fix, calls }
  }
  return { state: "healthy", reason: "OK", message: "the key opens what it wrapped", fix: null, calls }
}

export type HealthWatch = {
  /** The bindings to look at, read anew each time. Those that do not route are passed over. */
  readonly bindings: () => readonly Binding[] | Promise<readonly Binding[]>
  readonly providers: readonly CmkProvider[]
  /** Told when a binding's health is first known, and whenever it has changed. */
  readonly onChange: (change: HealthChange) => void
  /** Told where the bindings cannot be read; that changes no health. */
  readonly onError?: (error: unknown) => void
  /** How long after the end of one round the next begins, in milliseconds; 300,000 unless told. */
  readonly everyMs?: number
  /** Outages in a row before a key is called unreachable; 2 unless told. A denial counts at once. */
  readonly outages?: number
  readonly environment?: string
  /** Ends the watch. */
  readonly signal: AbortSignal
}

export type HealthChange = {
  readonly bindingId: string
  readonly before: Health["state"] | undefined
  readonly health: Health
}

/**
 * Checks the health of all bindings that route, one key at a time, again and again until the signal fires. A round costs
 * one request for each key. Resolves when it has ended; it keeps no process alive by itself.
 */
export async function watchHealth({
  bindings,
  providers,
  onChange,
  onError,
  everyMs = 300_000,
  outages = 2,
  environment = "default",
  signal,
}: HealthWatch): Promise<void> {
  const known = new Map<string, { state: Health["state"] | undefined; outages: number }>()
  while (!signal.aborted) {
    try {
      for (const binding of await bindings()) {
        const provider = providers.find(({ id }) => id === binding.provider)
        if (binding.state !== "active" || provider === undefined) continue
        const health = await checkHealth(provider, binding, { signal, environment })
        const before = known.get(binding.id) ?? { state: undefined, outages: 0 }
        const inRow = health.state === "unreachable" ? before.outages + 1 : 0
        const isKnown = health.state !== "unreachable" || inRow >= outages
        known.set(binding.id, { state: isKnown ? health.state : before.state, outages: inRow })
        if (isKnown && health.state !== before.state) {
          tell(onChange, { bindingId: binding.id, before: before.state, health })
        }
      }
    } catch (error) {
      if (signal.aborted) return
      tell(onError, error)
    }
    await pause(everyMs, signal)
  }
}

function ofFailure(failure: KeyfoldError): Omit<Health, "calls"> {
  const { code, message, fix = null, retryable } = failure
  const named = { reason: reasonOf(failure), message, fix }
  if (retryable) return { state: "unreachable", ...named }
  return { state: code === "UNKNOWN" || code === "INVALID_ARGUMENT" ? "unknown" : "revoked", ...named }
}

function tell<Event>(observer: ((event: Event) => void) | undefined, event: Event): void {
  try {
    observer?.(event)
  } catch {
    // An observer cannot end the watch, and has no way to be told.
  }
}

/** Resolves after a time, or as soon as the signal fires. */
function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      signal.removeEventListener("abort", end)
      resolve()
    }
    const timer = setTimeout(end, ms)
    timer.unref()
    signal.addEventListener("abort", end)
    if (signal.aborted) end()
  })
}

const LOST = {
  reason: "CANARY_LOST",
  code: "DECRYPTION_FAILED",
  message: "the key opened its canary to something else",
  fix: "look for a proxy that changes the traffic",
} as const
/** One, and a second one for a deleted key's facts or after damage. */
const MAX_CALLS = 4
