/** The tests that `pnpm mutate` runs, on the sources beside them: the copy that is mutated has no packages installed. */
import { join } from "node:path"
import { defineConfig } from "vitest/config"

const root = join(import.meta.dirname, "../..")
const source = (path: string) => join(root, "packages", path)

export default defineConfig({
  root,
  resolve: {
    alias: {
      "@keyfold/core/crypto": source("core/src/crypto-node.ts"),
      "@keyfold/core": source("core/src/index.ts"),
      "@keyfold/kek-managed/sqlite": source("kek-managed/src/sqlite-store.ts"),
      "@keyfold/kek-managed": source("kek-managed/src/index.ts"),
      "@keyfold/router": source("router/src/index.ts"),
    },
  },
  test: {
    setupFiles: [join(import.meta.dirname, "setup.ts")],
    testTimeout: 60_000,
    // What takes seconds each time, and kills nothing that the rest does not.
    testNamePattern:
      /^(?!.*(every single bit of an envelope|100,000 random contexts|equal canonical bytes if))/,
    projects:
      process.env.KEYFOLD_MUTATE === "router"
        ? [
            {
              extends: true,
              test: { name: "router", include: ["packages/router/test/**/*.test.ts"], isolate: false },
            },
          ]
        : [
            {
              extends: true,
              test: {
                name: "core",
                include: ["packages/core/test/**/*.test.ts", "test-vectors/test/vectors.test.ts"],
                // One process for all files: starting one for each takes longer than its tests.
                isolate: false,
              },
            },
            // It puts itself before the crypto seam, so no other test may have loaded that already.
            { extends: true, test: { name: "wiping", include: ["laws/test/wiping.test.ts"], isolate: true } },
          ],
  },
})
