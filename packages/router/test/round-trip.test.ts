import { createKeyfold } from "@keyfold/core"
import { createManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { expect, test } from "vitest"
import { createRouter } from "../src/index.ts"

test("a round trip through router and managed provider", async () => {
  const managed = await createManagedProvider({
    store: memoryStore(),
    root: { key: new Uint8Array(32).fill(1) },
    environment: "test",
  })
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  const context = { organization_id: "org_1", data_type: "ssn" }
  const envelope = await keyfold.encrypt("hello", { context })
  expect(new TextDecoder().decode((await keyfold.decrypt(envelope, { context })).plaintext)).toBe("hello")
  await managed.close()
})
