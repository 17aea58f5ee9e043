/** What every emulator of a cloud KMS has in common, whatever protocol it speaks. */
export interface KmsEmulator {
  /** Where it listens. */
  readonly url: string
  /** Every call that was answered, refused or broken off, in the order in which they ended. */
  readonly calls: readonly RecordedCall[]
  /** Plans a fault. The answer takes it back. */
  inject(fault: Fault, options?: InjectOptions): () => void
  /** Calls that still hold a connection: 0 once every caller has its answer, or has hung up. */
  openConnections(): number
  /** Ends every connection. Its keys are gone then. */
  close(): Promise<void>
}

/** A call that an emulator saw. */
export type RecordedCall = {
  /** The cloud's own name of it, such as `Decrypt`. */
  readonly operation: string
  /** The key that was asked for, in its normal form; as the caller sent it where there is no such key. */
  readonly keyId: string
  /** Milliseconds since 1970, when it arrived. */
  readonly at: number
  readonly ok: boolean
  /** The cloud's own name of its failure; `ConnectionLost` where the caller hung up or was cut off. */
  readonly error?: string
}

/** What goes wrong with a call. */
export type Fault =
  | { readonly kind: "latency"; readonly ms: number }
  /** The connection is reset. */
  | { readonly kind: "reset" }
  /** No answer comes. */
  | { readonly kind: "hang" }
  | { readonly kind: "throttle"; readonly retryAfterSeconds?: number }
  | { readonly kind: "server-error" }
  /** The permission is missing, for this call only: with `afterCalls` it goes away at call k. */
  | { readonly kind: "deny" }
  /** The service works with another key and says so. */
  | { readonly kind: "other-key" }
  /** The answer is cut in half. */
  | { readonly kind: "truncated" }
  /** The answer is a web page. */
  | { readonly kind: "garbage" }
  /** A bit flips on the way to the service or on the way back; only Google's protocol would notice. */
  | { readonly kind: "crc"; readonly where: "request" | "reply" }

/** Which calls a fault hits. */
export type InjectOptions = {
  /** Operations such as `Decrypt`; all of them unless told. */
  readonly operations?: readonly string[]
  readonly keyId?: string
  /** How many calls it hits; all of them unless told. */
  readonly times?: number
  /** How many matching calls go by first. */
  readonly afterCalls?: number
}

/** Which faults hit which calls. */
export class FaultPlan {
  readonly #planned = new Set<{ readonly fault: Fault; readonly options: InjectOptions; seen: number }>()

  /** The answer takes the fault back. */
  inject(fault: Fault, options: InjectOptions = {}): () => void {
    const planned = { fault, options, seen: 0 }
    this.#planned.add(planned)
    return () => void this.#planned.delete(planned)
  }

  /** The faults of one call; counts it. */
  take(operation: string, keyId: string): Fault[] {
    const hits: Fault[] = []
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
