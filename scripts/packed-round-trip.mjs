// What a user of the published packages does first, on plain JavaScript; run by packed.ts on every supported Node.
// Its arguments are the modules that a user can import.
import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

import { createKeyfold } from "@keyfold/core"
import * as crypto from "@keyfold/core/crypto"
import { createManagedProvider } from "@keyfold/kek-managed"
import { sqliteStore } from "@keyfold/kek-managed/sqlite"
import { createRouter } from "@keyfold/router"

const modules = process.argv.slice(2)
const folder = mkdtempSync(join(tmpdir(), "keyfold-user-"))
try {
  for (const module of modules)
    expect(`${module} exports something`, Object.keys(await import(module)).length > 0)
  expect("the crypto backend is Node's", crypto.backend === "node:crypto")
  await useLibrary()
  useCommand()
} finally {
  rmSync(folder, { recursive: true })
}
console.log(
  `Node ${process.versions.node}: ${modules.length} modules load; library and command make their round trips`,
)

async function useLibrary() {
  const root = { key: new Uint8Array(32).fill(1) }
  const store = sqliteStore(join(folder, "keks.db"))
  const managed = await createManagedProvider({ store, root, environment: "user" })
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  const context = { organization_id: "org_1", data_type: "ssn" }
  const envelope = await keyfold.encrypt("078-05-1120", { context })
  const { plaintext } = await keyfold.decrypt(envelope, { context })
  const other = { ...context, data_type: "x" }
  const code = await keyfold.decrypt(envelope, { context: other }).catch((error) => error.code)
  await managed.close()
  expect("the plaintext came back", new TextDecoder().decode(plaintext) === "078-05-1120")
  expect("another context is refused", code === "DECRYPTION_FAILED")
}

function useCommand() {
  const env = { ...process.env, KEYFOLD_HOME: join(folder, "home") }
  const keyfold = (args, input) =>
    execFileSync(process.execPath, ["node_modules/.bin/keyfold", ...args, "-c", "organization_id=org_1"], {
      input,
      env,
      encoding: "utf8",
      stdio: ["pipe", "pipe", "pipe"],
    })
  const plaintext = keyfold(["decrypt"], keyfold(["encrypt", "--text"], "078-05-1120"))
  expect("the command's plaintext came back", plaintext === "078-05-1120")
}

function expect(what, holds) {
  if (!holds) throw new Error(`does not hold: ${what}`)
}
