import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: [
      "packages/*/test/**/*.test.ts",
      "test-vectors/test/**/*.test.ts",
      "laws/test/**/*.test.ts",
      "scripts/test/**/*.test.ts",
      "benchmarks/test/**/*.test.ts",
    ],
    // Two cores are what CI has; more workers only make timings worse.
    maxWorkers: 2,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    allowOnly: false,
    // Only with `--coverage`, as `pnpm coverage` runs it.
    coverage: {
      provider: "v8",
      include: ["packages/core/src/**"],
      reporter: ["text"],
      thresholds: { branches: 100 },
    },
  },
})
