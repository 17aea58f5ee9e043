/** Works with almost no file descriptors left, and prints what each try came to: started by test/faults.test.ts. */
import { closeSync, openSync } from "node:fs"
import { createKeyfold, KeyfoldError } from "@keyfold/core"
import { createManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"

const [path = ""] = process.argv.slice(2)
const root = { key: new Uint8Array(32).fill(1) }
const open = () => createManagedProvider({ store: sqliteStore(path), root, environment: "test" })

// What a first use loads is no part of the question.
await (await open()).close()
for (let left = 0; left < 12; left++) {
  const fillers = fill()
  for (const filler of fillers.splice(0, left)) closeSync(filler)
  const code = await work(`org_${left}`).then(
    () => "done",
    (error) => (error instanceof KeyfoldError ? error.code : `UNTYPED ${error}`),
  )
  for (const filler of fillers) closeSync(filler)
  console.log(`${left} ${code}`)
  await work(`org_${left}`)
}

async function work(organization: string): Promise<void> {
  const managed = await open()
  try {
    const keyfold = createKeyfold({ router: createRouter({ managed }) })
    const context = { organization_id: organization }
    await keyfold.decrypt(await keyfold.encrypt("kept", { context }), { context })
  } finally {
    await managed.close()
  }
}

/** Opens files until no more can be. */
function fill(): number[] {
  const fillers: number[] = []
  for (;;) {
    try {
      fillers.push(openSync("/dev/null", "r"))
    } catch {
      return fillers
    }
  }
}
