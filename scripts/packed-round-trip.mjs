// What a user of the published packages does first, on plain JavaScript; run by packed.ts on every supported Node.
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { createKeyfold } from "@keyfold/core"
import * as nodeCrypto from "@keyfold/core/crypto"
import { createManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"

// node:sqlite says that it is experimental on Node 22; the user's program decides what to do about it.
process.removeAllListeners("warning")

const folder = mkdtempSync(join(tmpdir(), "keyfold-user-"))
const root = { key: new Uint8Array(32).fill(1) }
const store = sqliteStore(join(folder, "keks.db"))
const managed = await createManagedProvider({ store, root, environment: "user" })
const keyfold = createKeyfold({ router: createRouter({ managed }) })
const context = { organization_id: "org_1", data_type: "ssn" }
const envelope = await keyfold.encrypt("078-05-1120", { context })
const { plaintext } = await keyfold.decrypt(envelope, { context })
const code = await keyfold
  .decrypt(envelope, { context: { ...context, data_type: "x" } })
  .catch((error) => error.code)
await managed.close()
rmSync(folder, { recursive: true })
if (new TextDecoder().decode(plaintext) !== "078-05-1120" || code !== "DECRYPTION_FAILED") {
  throw new Error("the round trip failed")
}
if (nodeCrypto.backend !== "node:crypto") throw new Error("the wrong crypto backend was chosen")
console.log(
  `Node ${process.versions.node}: the packed packages make a round trip in ${envelope.length} bytes`,
)
