/** KEKs and a vault in a real PostgreSQL: the suites that every store passes. */
import { afterAll, test } from "vitest"
import { kekStoreSuite } from "../../kek-managed/test/kek-store-suite.ts"
import { vaultSuite } from "../../vault/test/vault-suite.ts"
import { postgresKekStore, postgresVaultStore } from "../src/index.ts"
import { startServer, unavailable } from "./server.ts"

if (unavailable !== undefined) {
  test("stores in PostgreSQL", ({ skip }) => skip(unavailable))
} else {
  const server = await startServer()
  afterAll(server.stop)
  let schemas = 0
  const nextSchema = () => ({ connectionString: server.connectionString, schema: `s${++schemas}` })

  kekStoreSuite("PostgreSQL store", () => postgresKekStore(nextSchema()))
  vaultSuite("PostgreSQL", async () => {
    const options = nextSchema()
    return {
      open: (environment = "default") => postgresVaultStore({ ...options, environment }),
      end: async () => undefined,
    }
  })
}
