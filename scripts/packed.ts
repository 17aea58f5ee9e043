/**
 * Packs every published package, installs the tarballs into an empty folder as a user would, checks their shape with
 * publint and attw, and makes a round trip there on each supported line of Node. `pnpm check packed`, after a build.
 */
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { type Package, publicPackages, root } from "./workspace.ts"

const NODES = ["22.13.0", "24", "26"]
const bin = (name: string) => join(root, "node_modules/.bin", name)
const run = (command: string, args: readonly string[], cwd: string) =>
  execFileSync(command, args, {
    cwd,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, npm_config_loglevel: "error" },
  })

const folder = mkdtempSync(join(tmpdir(), "keyfold-packed-"))
try {
  const tarballs = new Map<string, string>()
  for (const pack of publicPackages()) tarballs.set(pack.manifest.name, packed(pack))
  for (const [name, tarball] of tarballs) {
    run(bin("publint"), ["--strict", tarball], root)
    run(bin("attw"), [tarball, "--profile", "esm-only"], root)
    console.log(`${name}: publint and attw have no complaint`)
  }
  install(tarballs)
  copyFileSync(join(root, "scripts/packed-round-trip.mjs"), join(folder, "round-trip.mjs"))
  for (const node of NODES) {
    const answer = run("npx", ["--yes", "-p", `node@${node}`, "node", "round-trip.mjs"], folder)
    console.log(answer.trim())
  }
} finally {
  rmSync(folder, { recursive: true })
}

function packed({ path, manifest }: Package): string {
  const into = join(folder, "tarballs")
  mkdirSync(into, { recursive: true })
  run("npx", ["--yes", "pnpm@12.21.0", "pack", "--pack-destination", into], path)
  return join(into, `${manifest.name.replace("@", "").replace("/", "-")}-${manifest.version}.tgz`)
}

/** Installs the tarballs, and what they depend on, from the registry; nothing of the workspace is linked. */
function install(tarballs: ReadonlyMap<string, string>): void {
  const files = Object.fromEntries([...tarballs].map(([name, tarball]) => [name, `file:${tarball}`]))
  const manifest = { name: "user", private: true, type: "module", dependencies: files, overrides: files }
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest))
  run("npm", ["install", "--no-audit", "--no-fund", "--omit=peer"], folder)
}
