import { type Kek, type KekCallOptions, KeyfoldError } from "@keyfold/core"

/** What a question to the KMS came to, and how long it took in milliseconds. */
export type Answer<T> =
  | { readonly ok: true; readonly value: T; readonly ms: number }
  | { readonly ok: false; readonly failure: KeyfoldError; readonly ms: number }

/** Asks a KMS within one deadline and a number of requests; counts them. */
export class Probe {
  /** Requests made. */
  calls = 0
  readonly maxCalls: number
  readonly #caller: AbortSignal | undefined
  readonly #signal: AbortSignal

  constructor(maxCalls: number, deadlineMs: number, caller: AbortSignal | undefined) {
    const deadline = AbortSignal.timeout(deadlineMs)
    this.maxCalls = maxCalls
    this.#caller = caller
    this.#signal = caller === undefined ? deadline : AbortSignal.any([caller, deadline])
  }

  /**
   * Runs one question. Its failure is an answer too; only the caller's abort is thrown. Nothing of `run` is waited for
   * after that or after the deadline: what it gives later is dropped.
   * @throws KeyfoldError `ABORTED`
   */
  async ask<T>(
    run: (options: KekCallOptions) => T | Promise<T>,
    classify: Kek["classify"] = () => "UNKNOWN",
  ): Promise<Answer<T>> {
    const started = performance.now()
    try {
      this.#throwIfOver()
      const options = { signal: this.#signal, onRequest: () => this.#count() }
      const value = await this.#orOver(Promise.resolve().then(() => run(options)))
      return { ok: true, value, ms: performance.now() - started }
    } catch (error) {
      if (this.#caller?.aborted) throw this.#over()
      const failure = this.#signal.aborted
        ? this.#over()
        : error instanceof KeyfoldError
          ? error
          : new KeyfoldError(classify(error), "the provider failed: see the cause", { cause: error })
      return { ok: false, failure, ms: performance.now() - started }
    }
  }

  #count(): void {
    this.#throwIfOver()
    if (this.calls >= this.maxCalls) {
      throw new KeyfoldError("UNKNOWN", `the validation may make ${this.maxCalls} requests, and made them`)
    }
    this.calls++
  }

  #throwIfOver(): void {
    if (this.#signal.aborted) throw this.#over()
  }

  #over(): KeyfoldError {
    if (this.#caller?.aborted) {
      return new KeyfoldError("ABORTED", "the validation was aborted", { cause: this.#caller.reason })
    }
    return new KeyfoldError("TIMEOUT", "the validation's time was over: try again later", {
      side: "network",
      fix: "try again later, or give the validation more time",
    })
  }

  /** Not every call ends with its signal: assuming a role, or getting a token, serves others as well. */
  #orOver<T>(answer: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const onOver = () => reject(this.#over())
      this.#signal.addEventListener("abort", onOver)
      if (this.#signal.aborted) onOver()
      answer.then(resolve, reject).finally(() => this.#signal.removeEventListener("abort", onOver))
    })
  }
}
