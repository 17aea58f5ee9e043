/** What the worker that is killed and the judge that comes after it agree on. */
import { createKeyfold, KeyfoldError } from "@keyfold/core"
import { createManagedProvider, type ManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"

/** The root keys between which the worker changes. */
export const ROOTS = [1, 2].map((n) => ({ key: new Uint8Array(32).fill(n) }))

export const pairOf = (name: string) => ({ name: "n", value: name })
export const contextOf = (name: string) => ({ n: name })

/** Opens with whichever root key a killed process left. */
export async function openWithEither(
  open: (root: (typeof ROOTS)[number]) => Promise<ManagedProvider>,
): Promise<{ readonly managed: ManagedProvider; readonly root: number }> {
  try {
    return { managed: await open(ROOTS[0] as (typeof ROOTS)[number]), root: 0 }
  } catch (error) {
    if (!(error instanceof KeyfoldError) || error.code !== "PERMISSION_DENIED") throw error
    return { managed: await open(ROOTS[1] as (typeof ROOTS)[number]), root: 1 }
  }
}

/** All that workers were told is durable. */
export class Acknowledged {
  readonly keks = new Map<string, string>()
  readonly envelopes: { readonly name: string; readonly bytes: Uint8Array }[] = []
  /** Pairs for which two different KEKs were acknowledged. */
  duplicates = 0

  /** Takes the whole lines of a worker's output. */
  add(output: string): void {
    for (const line of output.split("\n").slice(0, -1)) {
      const [what, name = "", value = ""] = line.split(" ")
      if (what === "envelope")
        this.envelopes.push({ name, bytes: new Uint8Array(Buffer.from(value, "base64")) })
      if (what !== "kek") continue
      const known = this.keks.get(name)
      if (known !== undefined && known !== value) this.duplicates++
      this.keks.set(name, value)
    }
  }
}

export type Verdict = { readonly lost: number; readonly duplicates: number; readonly unreadable: number }

/**
 * Opens a store as the next process would, and compares it with what was acknowledged.
 * @param from the first envelope to open
 */
export async function judge(path: string, acknowledged: Acknowledged, from = 0): Promise<Verdict> {
  const { managed } = await openWithEither((root) =>
    createManagedProvider({ store: sqliteStore(path), root, environment: "faults" }),
  )
  try {
    const keyfold = createKeyfold({ router: createRouter({ managed }) })
    const listed = new Set<string>()
    for await (const { keyId } of managed.list()) listed.add(keyId) // opens each row's seal
    let lost = 0
    let unreadable = 0
    for (const [name, keyId] of acknowledged.keks) {
      const kek = await managed.findKek(pairOf(name))
      if (kek?.keyId !== keyId || !listed.has(keyId)) lost++
    }
    for (const { name, bytes } of acknowledged.envelopes.slice(from)) {
      const text = await keyfold.decrypt(bytes, { context: contextOf(name) }).then(
        ({ plaintext }) => new TextDecoder().decode(plaintext),
        () => undefined,
      )
      if (text !== name) unreadable++
    }
    return { lost, duplicates: acknowledged.duplicates, unreadable }
  } finally {
    await managed.close()
  }
}
