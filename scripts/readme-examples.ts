/**
 * Runs the examples of README.md, of every package's README and of the guides: each ```ts block that imports from
 * "@keyfold/…". What a line prints stands behind it as `// text`. A block that cannot run says why in its fence:
 * ```ts no-run needs an AWS account.
 */
import { execFileSync } from "node:child_process"
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join, relative } from "node:path"
import { packages, root } from "./workspace.ts"

const TSC =
  "--target es2023 --lib es2024 --types node --module nodenext --strict --skipLibCheck --allowImportingTsExtensions --erasableSyntaxOnly --verbatimModuleSyntax".split(
    " ",
  )

const guides = join(root, "docs/guides")
const files = [
  join(root, "README.md"),
  ...packages().map(({ path }) => join(path, "README.md")),
  ...(existsSync(guides) ? readdirSync(guides).map((name) => join(guides, name)) : []),
].filter((file) => file.endsWith(".md") && existsSync(file))

/** Inside the benchmarks package, whose dependencies the examples may use; removed again. */
const folder = join(root, "benchmarks/.examples")
let ran = 0
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder)
try {
  for (const file of files) {
    const blocks = readFileSync(file, "utf8").matchAll(/^```ts([^\n]*)\n(.*?)^```$/gms)
    for (const [, info = "", code = ""] of blocks) {
      const name = relative(root, file)
      if (/^ no-run \S+/.test(info)) console.log(`not run: an example of ${name}:${info.slice(7)}`)
      else if (code.includes('from "@keyfold/')) runExample(name, code)
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
if (ran === 0 || !existsSync(join(root, "README.md"))) {
  console.error("no example was found: README.md must have one")
  process.exitCode = 1
}

function runExample(name: string, code: string): void {
  const path = join(folder, `example-${++ran}.ts`)
  writeFileSync(path, code)
  execFileSync(
    process.execPath,
    [join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "--ignoreConfig", ...TSC, path],
    { cwd: root, stdio: "inherit" },
  )
  const printed = execFileSync(process.execPath, [path], { cwd: folder, encoding: "utf8" })
  const expected = [...code.matchAll(/console\.log\(.*\) \/\/ (.*)$/gm)].map(([, text]) => text)
  const missing = expected.filter((text) => !printed.includes(text as string))
  if (missing.length > 0) {
    console.error(`an example of ${name} printed\n${printed}where its text says\n${missing.join("\n")}`)
    process.exitCode = 1
    return
  }
  console.log(`ran an example of ${name}; ${expected.length} printed lines as it says`)
}
