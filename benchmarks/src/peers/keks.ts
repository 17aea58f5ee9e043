import { randomBytes } from "node:crypto"
import { CONTEXTS } from "../variants.ts"

/** A KEK for each pair of each context, as keyfold has them: the first pair is the context's own, the others are shared. */
export function keksOf<K>(pairs: number, make: (key: Buffer) => K): (i: number) => K[] {
  const key = () => make(randomBytes(32))
  const shared = Array.from({ length: pairs - 1 }, key)
  const keks = Array.from({ length: CONTEXTS }, () => [key(), ...shared])
  return (i) => keks[i % CONTEXTS] as K[]
}
