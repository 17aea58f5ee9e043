/**
 * A map that forgets: at most `2 × generationSize` entries, in two generations. What is used moves to the young
 * one; when that is full the old one is dropped whole. Costs one or two Map look-ups, no list to maintain.
 */
export class BoundedCache<Key, Value> {
  readonly #generationSize: number
  #young = new Map<Key, Value>()
  #old = new Map<Key, Value>()

  constructor(generationSize: number) {
    this.#generationSize = generationSize
  }

  get(key: Key): Value | undefined {
    const young = this.#young.get(key)
    if (young !== undefined) return young
    const old = this.#old.get(key)
    if (old !== undefined) this.set(key, old)
    return old
  }

  set(key: Key, value: Value): void {
    if (this.#young.size >= this.#generationSize) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(key, value)
  }
}
