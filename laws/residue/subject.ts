/** Works as a service does, and waits to be looked at: started by main.ts, which answers each line with one. */
import { randomFillSync } from "node:crypto"
import { writeFileSync } from "node:fs"
import { createInterface } from "node:readline"
import { writeHeapSnapshot } from "node:v8"
import { createKeyfold } from "@keyfold/core"
import { createManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { createRouter } from "@keyfold/router"
import { record, recorded } from "./recorded-crypto.ts"

const [folder = "", operations = "1000"] = process.argv.slice(2)
const lines = createInterface(process.stdin)[Symbol.asyncIterator]()

const root = { key: new Uint8Array(32) }
randomFillSync(root.key)
record("root key", root.key)
const managed = await createManagedProvider({ store: memoryStore(), root, environment: "residue" })
root.key.fill(0)
const keyfold = createKeyfold({ router: createRouter({ managed }) })
for (let i = 0; i < Number(operations); i++) {
  const context = { organization_id: `org_${i % 20}`, data_type: "note" }
  const plaintext = new Uint8Array(100)
  randomFillSync(plaintext)
  record("plaintexts", plaintext.subarray(0, 32))
  const envelope = await keyfold.encrypt(plaintext, { context })
  plaintext.fill(0)
  const opened = await keyfold.decrypt(envelope, { context })
  opened.plaintext.fill(0)
}
await look("working")
await managed.close()
await look("closed")
process.stdin.destroy()

/** Writes what to look for and a heap snapshot, and waits until the memory was dumped. */
async function look(state: string): Promise<void> {
  // What native memory holds goes after the object that held it.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  for (const [kind, secrets] of recorded) writeFileSync(`${folder}/${state}-${kind}`, Buffer.concat(secrets))
  writeHeapSnapshot(`${folder}/${state}.heapsnapshot`)
  console.log(state)
  await lines.next()
}
