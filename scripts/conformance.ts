/** `pnpm conformance`: runs the conformance suite for every provider, and prints laws by providers. */
import { spawnSync } from "node:child_process"
import Table from "cli-table3"
import { bin, root } from "./workspace.ts"

/** The suite names its subjects; the testkit's own tests have others beside these. */
const PROVIDERS = [
  "managed",
  "aws-kms",
  "azure-keyvault, RSA",
  "azure-keyvault, Managed HSM",
  "gcp-kms",
] as const

const { status, stdout, stderr } = spawnSync(bin("vitest"), ["run", "conformance"], {
  cwd: root,
  encoding: "utf8",
  env: { ...process.env, NO_COLOR: "1" },
})
const results = readResults(stdout)
const laws = new Set([...results.values()].flatMap((each) => [...each.keys()]))
const cell = (provider: string, law: string) => results.get(provider)?.get(law) ?? "missing"
const outcome = (text: string) => text.split(":")[0] as string
const table = new Table({ head: ["law", ...PROVIDERS], style: { head: [], border: [] }, wordWrap: true })
for (const law of laws) table.push([law, ...PROVIDERS.map((provider) => outcome(cell(provider, law)))])
console.log(table.toString())
for (const provider of PROVIDERS) {
  for (const law of laws) {
    const text = cell(provider, law)
    if (text.startsWith("n/a")) console.log(`${provider}, ${law}: ${text}`)
  }
}
const cells = [...laws].flatMap((law) => PROVIDERS.map((provider) => outcome(cell(provider, law))))
const count = (which: string) => cells.filter((each) => each === which).length
console.log(`${cells.length} cells: ${count("pass")} pass, ${count("FAIL")} fail, ${count("n/a")} n/a`)
if (status !== 0) console.error(stderr)
process.exitCode = status === 0 && count("pass") + count("n/a") === cells.length && laws.size > 0 ? 0 : 1

/** The rows that the suite prints after each provider's name. */
function readResults(output: string): ReadonlyMap<string, ReadonlyMap<string, string>> {
  const found = new Map<string, Map<string, string>>()
  let rows: Map<string, string> | undefined
  for (const line of output.split("\n")) {
    const name = /^KEK conformance of (.+)$/.exec(line)?.[1]
    if (name !== undefined) {
      rows = PROVIDERS.some((each) => each === name) ? new Map() : undefined
      if (rows !== undefined) found.set(name, rows)
      continue
    }
    const [, law, result] = /^ {2}(.+?): (pass|FAIL|did not run|n\/a: .*)$/.exec(line) ?? []
    if (law === undefined) rows = undefined
    else rows?.set(law, result as string)
  }
  return found
}
