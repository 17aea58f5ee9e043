import type { Kek, Pair } from "@keyfold/core"

/** What routing and changes of bindings need of the managed provider; that of `@keyfold/kek-managed` has it all. */
export interface ManagedKeks {
  /** Keeps data apart: what was written in one opens in no other. */
  readonly environment: string
  /**
   * Another number whenever a pair that has a KEK may have another one, or none; undefined while only a call can tell.
   * Left out, every pair is asked for at every operation.
   */
  readonly generation?: number | undefined
  kek(keyId: string): Kek
  /** The KEK of a pair, made now if there is none. @throws KeyfoldError `NO_ROUTE` where the pair is closed */
  kekFor(pair: Pair): Kek | Promise<Kek>
  /** The same if there is one and it is not closed. Never makes one. */
  findKek(pair: Pair): Kek | undefined | Promise<Kek | undefined>
  /** The companion of an owner's public-key bindings of a whole match, made now if there is none. */
  companionFor(owner: string, match: readonly Pair[]): Kek | Promise<Kek>
  /** From now on the pair has no KEK that wraps, rotates or is made. Gives the one it had, also when called again. */
  closePair(pair: Pair): Promise<{ readonly keyId: string; readonly lastVersion: number } | undefined>
  /** Lets a closed pair have a new KEK, with a new id. */
  reopenPair(pair: Pair): Promise<void>
}
