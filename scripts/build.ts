/** `pnpm build`: makes `dist` of every published package, as its `publishConfig` says, from the sources its exports name. */
import { rmSync } from "node:fs"
import { join } from "node:path"
import { build } from "tsdown"
import { entriesOf, publicPackages, root } from "./workspace.ts"

for (const pack of publicPackages()) {
  rmSync(join(pack.path, "dist"), { recursive: true, force: true })
  await build({
    cwd: pack.path,
    config: false,
    entry: entriesOf(pack),
    format: "esm",
    target: "node22.13",
    // Core serves browsers and workers too; every package imports node: modules by their full name.
    platform: "neutral",
    dts: true,
    fixedExtension: false,
    outDir: "dist",
    // Dependencies and the package's own subpaths stay imports, so that export conditions choose at the user's side.
    deps: { neverBundle: [/^[^./]/] },
    tsconfig: join(root, "tsconfig.json"),
    logLevel: "warn",
  })
  console.log(`built ${pack.manifest.name}`)
}
