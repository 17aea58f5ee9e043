/**
 * Packs every published package, checks the tarballs' shape with publint and attw, installs them into an empty folder as
 * a user would, and on each supported line of Node imports all they export and makes round trips there.
 * `pnpm check packed`, after a build.
 */
import { execFileSync } from "node:child_process"
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { bin, type Package, PNPM, publicPackages, root } from "./workspace.ts"

/** The first Node that is supported (the first with node:sqlite unflagged), and the lines that are maintained. */
const NODES = ["22.13.0", "24", "26"]

const folder = mkdtempSync(join(tmpdir(), "keyfold-packed-"))
try {
  const tarballs = new Map(publicPackages().map((pack) => [pack.manifest.name, packed(pack)]))
  for (const [name, tarball] of tarballs) {
    run(bin("publint"), ["--strict", tarball], root)
    run(bin("attw"), [tarball, "--profile", "esm-only"], root)
    console.log(`${name}: publint and attw have no complaint`)
  }
  install(tarballs)
  copyFileSync(join(root, "scripts/packed-round-trip.mjs"), join(folder, "round-trip.mjs"))
  const specifiers = publicPackages().flatMap(specifiersOf)
  for (const node of NODES) {
    // On Node 22 node:sqlite says that it is experimental.
    const quiet = "--disable-warning=ExperimentalWarning"
    const args = ["--yes", "-p", `node@${node}`, "node", quiet, "round-trip.mjs", ...specifiers]
    console.log(run("npx", args, folder).trim())
  }
} finally {
  rmSync(folder, { recursive: true })
}

function packed({ path, manifest }: Package): string {
  run("npx", ["--yes", PNPM, "pack", "--pack-destination", folder], path)
  return join(folder, `${manifest.name.replace("@", "").replace("/", "-")}-${manifest.version}.tgz`)
}

/** Installs the tarballs, and what they depend on, from the registry; nothing of the workspace is linked. */
function install(tarballs: ReadonlyMap<string, string>): void {
  const files = Object.fromEntries([...tarballs].map(([name, tarball]) => [name, `file:${tarball}`]))
  const manifest = { name: "user", private: true, type: "module", dependencies: files, overrides: files }
  writeFileSync(join(folder, "package.json"), JSON.stringify(manifest))
  run("npm", ["install", "--no-audit", "--no-fund"], folder)
}

/** What a user writes to import each of a package's modules. */
function specifiersOf({ manifest }: Package): string[] {
  const modules = Object.keys(manifest.exports).filter((subpath) => !subpath.endsWith(".json"))
  return modules.map((subpath) => `${manifest.name}${subpath.slice(1)}`)
}

/** The command's output; where it fails, what it said is printed. */
function run(command: string, args: readonly string[], cwd: string): string {
  try {
    return execFileSync(command, args, {
      cwd,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, npm_config_loglevel: "error" },
    })
  } catch (error) {
    console.error((error as { stdout?: string }).stdout)
    throw new Error(`${command} ${args.join(" ")} failed`)
  }
}
