/** A fault that an emulator shows to its caller. */
export type GcpFault =
  | { readonly kind: "latency"; readonly ms: number }
  | { readonly kind: "reset" }
  | { readonly kind: "hang" }
  | { readonly kind: "throttle"; readonly retryAfterSeconds?: number }
  | { readonly kind: "server-error" }
  | { readonly kind: "deny" }
  | { readonly kind: "other-key" }
  | { readonly kind: "truncated" }
  | { readonly kind: "garbage" }
  /** A bit flips on the way to the service, or on the way back. */
  | { readonly kind: "crc"; readonly where: "request" | "reply" }

export type InjectOptions = {
  /** Methods such as `Encrypt`; all of them unless told. */
  readonly operations?: readonly string[]
  readonly keyId?: string
  /** How many calls it hits; all of them unless told. */
  readonly times?: number
  /** How many matching calls go by first. */
  readonly afterCalls?: number
}

/** Which faults hit which calls. */
export class FaultPlan {
  readonly #planned = new Set<{ fault: GcpFault; options: InjectOptions; seen: number }>()

  /** The answer takes the fault back. */
  inject(fault: GcpFault, options: InjectOptions): () => void {
    const planned = { fault, options, seen: 0 }
    this.#planned.add(planned)
    return () => void this.#planned.delete(planned)
  }

  /** The faults of one call; counts it. */
  take(operation: string, keyId: string): GcpFault[] {
    const hits: GcpFault[] = []
    for (const planned of this.#planned) {
      const { operations, keyId: only, afterCalls = 0, times = Number.POSITIVE_INFINITY } = planned.options
      if (operations !== undefined && !operations.includes(operation)) continue
      if (only !== undefined && only !== keyId) continue
      planned.seen++
      if (planned.seen > afterCalls && planned.seen <= afterCalls + times) hits.push(planned.fault)
    }
    return hits
  }
}

export type RecordedCall = {
  readonly operation: string
  readonly keyId: string
  /** Milliseconds since 1970, when it arrived. */
  readonly at: number
  readonly ok: boolean
  /** The name of the gRPC status that it failed with. */
  readonly error?: string
}
