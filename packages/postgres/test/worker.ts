/** Makes KEKs and opens wraps of others, at once with other processes; prints how many it opened. */
import { createKeyfold } from "@keyfold/core"
import { createManagedProvider } from "@keyfold/kek-managed"
import { createRouter } from "@keyfold/router"
import { postgresKekStore } from "../src/index.ts"

const [connectionString = "", schema = "", pairs = "0", at = "0"] = process.argv.slice(2)
await new Promise((resolve) => setTimeout(resolve, Number(at) - Date.now()))
const root = { key: new Uint8Array(32).fill(1) }
const store = postgresKekStore({ connectionString, schema })
const managed = await createManagedProvider({ store, root, environment: "test" })
const keyfold = createKeyfold({ router: createRouter({ managed }) })
const items = Array.from({ length: Number(pairs) }, (_, i) => ({
  plaintext: "x",
  context: { organization_id: `org_${i}` },
}))
const made = await keyfold.encryptMany(items, { concurrency: 8 })
for (const result of made) if (!result.ok) throw result.error
const ids = made.map((result) => (result.ok ? keyfold.inspect(result.value).wraps[0]?.keyId : ""))
console.log(JSON.stringify(ids))
await managed.close()
