/**
 * Works on a KEK store until it is killed, or `steps` are done, and prints a line for each thing that it was told is
 * durable: `kek PAIR KEYID`, `envelope PAIR BASE64`. Started by main.ts; a failure is printed as `failed CODE`.
 */
import { createKeyfold, KeyfoldError } from "@keyfold/core"
import { createManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"
import { contextOf, openWithEither, pairOf, ROOTS } from "./store.ts"

const [path = "", steps = "Infinity", seed = "0"] = process.argv.slice(2)
let random = Number(seed)
try {
  const { managed, root } = await openWithEither((root) =>
    createManagedProvider({ store: sqliteStore(path), root, environment: "faults" }),
  )
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  let current = root
  for (let step = 0; step < Number(steps); step++) {
    const name = `p${next(2_000)}`
    const { keyId } = await managed.kekFor(pairOf(name))
    print(`kek ${name} ${keyId}`)
    const envelope = await keyfold.encrypt(name, { context: contextOf(name) })
    print(`envelope ${name} ${Buffer.from(envelope).toString("base64")}`)
    if (step % 3 === 1) await managed.rotate(keyId)
    if (step % 3 === 2) {
      current = 1 - current
      await managed.changeRoot(ROOTS[current] as (typeof ROOTS)[number])
    }
  }
  await managed.close()
  print("done")
} catch (error) {
  print(`failed ${error instanceof KeyfoldError ? error.code : "UNTYPED"}`)
  process.exitCode = 1
}

/** Lehmer's generator (Park and Miller, 1988): a seed repeats a run. */
function next(below: number): number {
  random = ((random + 1) * 48_271) % 2_147_483_647
  return random % below
}

/** To a pipe this is done when it returns. */
function print(line: string): void {
  process.stdout.write(`${line}\n`)
}
