import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { expect, test } from "vitest"
import { root } from "../workspace.ts"
import { plant } from "./plant.ts"

/** What a source file of a package imports, and the rule that must catch it. */
const FORBIDDEN: ReadonlyArray<readonly [folder: string, imports: string, rule: string]> = [
  ["core", "../../router/src/index.ts", "core-depends-on-nothing"],
  ["core", "@keyfold/router", "nothing-undeclared"],
  ["core", "vitest", "nothing-that-only-tests-have"],
  ["router", "../../kek-managed/src/index.ts", "middle-depends-on-core-only"],
  ["kek-aws-kms", "../../kek-gcp-kms/src/index.ts", "middle-depends-on-core-only"],
  ["provider-testkit", "../../kek-managed/src/index.ts", "middle-depends-on-core-only"],
  ["vault", "../../server/src/index.ts", "upper-never-upward"],
  ["byok", "../../cli/src/index.ts", "upper-never-upward"],
  ["server", "../../cli/src/index.ts", "server-never-upward"],
  ["vault", "../test/help.ts", "src-never-imports-test"],
  ["router", "@aws-sdk/client-kms", "aws-sdk-in-its-package"],
  ["kek-gcp-kms", "@azure/keyvault-keys", "azure-sdk-in-its-package"],
  ["server", "@google-cloud/kms", "google-sdk-in-its-package"],
]

const ALLOWED: ReadonlyArray<readonly [folder: string, imports: string]> = [
  ["router", "../../core/src/index.ts"],
  ["byok", "../../kek-aws-kms/src/index.ts"],
  ["server", "../../vault/src/index.ts"],
  ["cli", "../../server/src/index.ts"],
]

test("each import against the direction is caught by its rule", () => {
  const found = violations(
    Object.fromEntries(
      FORBIDDEN.map(([folder, imports], index) => [`${folder}/src/planted-${index}.ts`, imports]),
    ),
  )
  for (const [index, [folder, imports, rule]] of FORBIDDEN.entries()) {
    expect(found.get(`packages/${folder}/src/planted-${index}.ts`), `${folder} → ${imports}`).toContain(rule)
  }
})

test("a cycle is caught", () => {
  const found = violations({ "core/src/a.ts": "./b.ts", "core/src/b.ts": "./a.ts" })
  expect(found.get("packages/core/src/a.ts")).toEqual(["no-cycle"])
})

test("imports along the direction, and of siblings by tests, are let through", () => {
  const files = ALLOWED.map(([folder, imports], index) => [`${folder}/src/planted-${index}.ts`, imports])
  const found = violations({
    ...Object.fromEntries(files),
    "router/test/planted.ts": "../../kek-managed/src/index.ts",
  })
  expect([...found]).toEqual([])
})

/** The rules that each file breaks, in a workspace of empty packages and these files with one import each. */
function violations(imports: Readonly<Record<string, string>>): Map<string, string[]> {
  const folders = ["core", "router", "kek-managed", "kek-aws-kms", "kek-gcp-kms", "provider-testkit"]
  const entries = [...folders, "byok", "vault", "server", "cli"].flatMap((folder) => [
    [`packages/${folder}/src/index.ts`, "export {}\n"],
    [`packages/${folder}/package.json`, `{"name":"@keyfold/${folder}","devDependencies":{"vitest":"*"}}`],
  ])
  const planted = Object.entries(imports).map(([path, target]) => [
    `packages/${path}`,
    `import ${JSON.stringify(target)}\n`,
  ])
  using workspace = plant({
    "tsconfig.json": "{}",
    "packages/vault/test/help.ts": "export {}\n",
    ...Object.fromEntries(entries),
    ...Object.fromEntries(planted),
  })
  const config = join(root, ".dependency-cruiser.json")
  const { stdout } = spawnSync(
    join(root, "node_modules/.bin/depcruise"),
    ["--config", config, "--output-type", "json", "packages"],
    { cwd: workspace.folder, encoding: "utf8" },
  )
  const result = JSON.parse(stdout) as { summary: { violations: { from: string; rule: { name: string } }[] } }
  const found = new Map<string, string[]>()
  for (const { from, rule } of result.summary.violations)
    found.set(from, [...(found.get(from) ?? []), rule.name])
  return found
}
