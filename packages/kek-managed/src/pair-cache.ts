import type { Kek, Pair } from "@keyfold/core"
import { LRUCache } from "lru-cache"
import type { KekCache } from "./kek-cache.ts"

type Known = { readonly kek: Kek; readonly generation: number }

/**
 * Which KEK serves a pair, for as long as nothing has changed. Core hands out the same pair object for an equal key
 * context while it is cached, so the object itself is looked up first, and its text after that.
 */
export class PairCache {
  readonly #cache: KekCache
  readonly #byObject = new WeakMap<Pair, Known>()
  readonly #byText: LRUCache<string, Known>

  constructor(cache: KekCache, size: number) {
    this.#cache = cache
    this.#byText = new LRUCache({ max: size })
  }

  get(pair: Pair): Kek | undefined {
    const { generation, fresh } = this.#cache
    if (!fresh) return undefined
    const byObject = this.#byObject.get(pair)
    if (byObject?.generation === generation) return byObject.kek
    const byText = this.#byText.get(textOf(pair))
    if (byText?.generation !== generation) return undefined
    this.#byObject.set(pair, byText)
    return byText.kek
  }

  /** @param generation of the cache, from before the KEK was looked up */
  set(pair: Pair, kek: Kek, generation: number): Kek {
    const known = { kek, generation }
    this.#byObject.set(pair, known)
    this.#byText.set(textOf(pair), known)
    return kek
  }
}

function textOf({ name, value }: Pair): string {
  return `${name.length}:${name}${value}`
}
