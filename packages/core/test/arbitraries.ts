import fc from "fast-check"
import type { KeyContext } from "../src/index.ts"

/** Any string a name or value may be, of 1 to `maxCodePoints` code points. */
function field(maxCodePoints: number): fc.Arbitrary<string> {
  return fc
    .string({ unit: "binary", minLength: 1, maxLength: maxCodePoints })
    .filter((text) => text.isWellFormed() && !text.includes("\0") && [...text].length <= maxCodePoints)
}

/** Valid key contexts of 1 to 10 pairs, mostly short ones. */
export const keyContext: fc.Arbitrary<KeyContext> = fc
  .uniqueArray(
    fc.tuple(
      field(12).filter((name) => !name.startsWith("keyfold:")),
      field(20),
    ),
    { minLength: 1, maxLength: 10, selector: ([name]) => name },
  )
  .map((pairs) => {
    const context: Record<string, string> = Object.create(null)
    for (const [name, value] of pairs) context[name] = value
    return context
  })

export const policy = fc.constantFrom("all" as const, "any" as const)

/** Plaintexts whose lengths lie around the edges of 4 KiB segments. */
export const plaintext = fc
  .oneof(
    fc.integer({ min: 0, max: 200 }),
    fc.constantFrom(4095, 4096, 4097, 8191, 8192, 8193, 12_288, 20_000),
  )
  .chain((length) => fc.nat(255).map((seed) => new Uint8Array(length).map((_, i) => (i * 31 + seed) % 256)))
