/**
 * Runs the examples of README.md, of every package's README and of the guides: each ```ts block that imports from
 * "@keyfold/…", type-checked first, and each ```sh block that calls `keyfold`. What a line of TypeScript prints stands
 * behind it as `// text`. A block that cannot run says why in its fence: ```ts no-run needs an AWS account.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, join, relative } from "node:path"
import { packages, root } from "./workspace.ts"

type Example = { readonly source: string; readonly language: "ts" | "sh"; readonly code: string }

const node = process.execPath
const failed: string[] = []
const all = documents().flatMap(examplesOf)

// Inside the benchmarks package, whose dependencies the examples may use.
const tsFolder = join(root, "benchmarks/.examples")
const shFolder = mkdtempSync(join(tmpdir(), "keyfold-examples-"))
rmSync(tsFolder, { recursive: true, force: true })
mkdirSync(tsFolder)
try {
  runTypeScript(all.filter(({ language }) => language === "ts"))
  for (const example of all) if (example.language === "sh") runShell(example)
} finally {
  rmSync(tsFolder, { recursive: true, force: true })
  rmSync(shFolder, { recursive: true, force: true })
}
for (const failure of failed) console.error(`FAILED ${failure}`)
process.exitCode = failed.length === 0 ? 0 : 1

function documents(): string[] {
  const guides = join(root, "docs/guides")
  return [
    join(root, "README.md"),
    ...packages().map(({ path }) => join(path, "README.md")),
    ...(existsSync(guides) ? readdirSync(guides).map((name) => join(guides, name)) : []),
  ].filter((file) => file.endsWith(".md"))
}

/** The examples of a document that are to run. Each document has one at least, be it one that cannot run. */
function examplesOf(file: string): Example[] {
  const name = relative(root, file)
  const text = existsSync(file) ? readFileSync(file, "utf8") : ""
  const toRun: Example[] = []
  let found = 0
  for (const block of text.matchAll(/^```(ts|sh)([^\n]*)\n(.*?)^```$/gms)) {
    const [, language, info = "", code = ""] = block
    const callsKeyfold =
      language === "ts" ? code.includes('from "@keyfold/') : /^(.*\| )?keyfold /m.test(code)
    const reason = /^ no-run (\S.*)/.exec(info)?.[1]
    if (!callsKeyfold && reason === undefined) continue
    found++
    const source = `${name}:${text.slice(0, block.index).split("\n").length}`
    if (reason !== undefined) console.log(`not run ${source}: ${reason}`)
    else toRun.push({ source, language: language as Example["language"], code })
  }
  if (found === 0) failed.push(`${name}: it has no example`)
  return toRun
}

function runTypeScript(examples: readonly Example[]): void {
  const pathOf = ({ source }: Example) => join(tsFolder, `${source.replaceAll(/\W/g, "-")}.ts`)
  for (const example of examples) writeFileSync(pathOf(example), example.code)
  writeFileSync(join(tsFolder, "tsconfig.json"), '{"extends":"../../tsconfig.base.json"}')
  const types = spawnSync(node, [join(root, "node_modules/typescript/bin/tsc"), "-p", tsFolder], {
    stdio: "inherit",
  })
  if (types.status !== 0) failed.push("the types of the examples, see above")

  for (const example of examples) {
    const printed = run(example, node, [pathOf(example)], tsFolder)
    // The lines in their order; between them an example may print what it does not promise.
    let rest = printed.split("\n")
    for (const [, line = ""] of example.code.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)) {
      const at = rest.indexOf(line)
      if (at < 0) failed.push(`${example.source}: it does not print "${line}" where it says so`)
      rest = rest.slice(at + 1)
    }
  }
}

function runShell(example: Example): void {
  const folder = mkdtempSync(join(shFolder, "example-"))
  const main = join(root, "packages/cli/src/main.ts")
  writeFileSync(join(folder, "keyfold"), `#!/bin/sh\nexec "${node}" "${main}" "$@"\n`, { mode: 0o755 })
  const PATH = `${folder}${delimiter}${process.env.PATH}`
  run(example, "sh", ["-euc", example.code], folder, { PATH, KEYFOLD_HOME: join(folder, "home") })
}

/** What the example printed; it has 60 s. */
function run(
  { source }: Example,
  command: string,
  args: string[],
  cwd: string,
  env: NodeJS.ProcessEnv = {},
): string {
  // Without pnpm's INIT_CWD, by which the command would look for files where pnpm was started.
  const { INIT_CWD: _, ...own } = process.env
  const result = spawnSync(command, args, {
    cwd,
    env: { ...own, ...env },
    encoding: "utf8",
    timeout: 60_000,
    stdio: ["ignore", "pipe", "pipe"],
  })
  if (result.status === 0) console.log(`ran ${source}`)
  else failed.push(`${source}: it ended with ${result.status ?? result.signal}\n${result.stderr}`)
  return result.stdout
}
