import { styleText } from "node:util"
import type { Check, CmkBinding, CmkProvider, Report } from "@keyfold/byok"
import { type KeyContext, KeyfoldError } from "@keyfold/core"
import { isSameMatch } from "../bindings.ts"
import { readBindings } from "../bindings-file.ts"
import { type Cloud, type CloudId, createClouds } from "../clouds.ts"
import { contextOf } from "../context.ts"
import { exitCodeOf, printable } from "../failure.ts"
import { existingHome, type HomeOptions } from "../home.ts"
import { cloudOptionsOf, type KeyOptions, ownerOf } from "../key-options.ts"

type Options = HomeOptions &
  KeyOptions & {
    match: string[]
    provider?: CloudId
    keyId?: string
    owner?: string
    expectedRegion?: string
    principal?: string
    deadline: string
    json?: true
  }

/** Prints a report, and ends with the code of what failed; a failed validation is no error of the command. */
export async function validate(options: Options): Promise<void> {
  const { provider: id, ...binding } = await subjectOf(options)
  const deadlineMs = deadlineOf(options.deadline)
  const { validateCmk, worstCheck } = await import("@keyfold/byok")
  const clouds = createClouds()
  try {
    const provider = providerOf(id, await clouds.cloud(id))
    const { principal } = options
    const isWatched = process.stderr.isTTY && !options.json
    const report = await validateCmk(provider, binding, {
      ...{ deadlineMs, principal },
      ...(isWatched && { onCheck: (check: Check) => console.error(progressOf(check)) }),
    })
    if (options.json) console.log(JSON.stringify(shownOf(report)))
    else await print(report)
    const worst = worstCheck(report)
    if (worst !== undefined) process.exitCode = exitCodeOf(worst.code ?? "UNKNOWN")
  } finally {
    await clouds.close()
  }
}

type Subject = CmkBinding & { readonly provider: CloudId }

/** The key that the options name; the bound one where they name none. */
async function subjectOf(options: Options): Promise<Subject> {
  const match = contextOf(options.match, "--match")
  const { provider, keyId, expectedRegion } = options
  if (provider !== undefined && keyId !== undefined) {
    const owner = options.owner ?? ownerOf(match)
    const cloudOptions = cloudOptionsOf({ ...options, provider, keyId })
    return { provider, keyId, owner, match, options: cloudOptions, expectedRegion }
  }
  if (provider !== undefined || keyId !== undefined) {
    throw new KeyfoldError("INVALID_ARGUMENT", "give --provider and --key-id, or neither for a bound key")
  }
  const bound = await boundTo(options, match)
  return { ...bound, provider: bound.provider as CloudId, ...(expectedRegion && { expectedRegion }) }
}

async function boundTo(options: HomeOptions, match: KeyContext) {
  const bindings = await readBindings(existingHome(options))
  const found = bindings.find((each) => isSameMatch(each.match, match) && each.state !== "removed")
  if (found !== undefined) return found
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    "no key is bound to this match: name one by --provider and --key-id",
  )
}

function providerOf(id: CloudId, { kek, resolveKeyId, hintDenials }: Cloud): CmkProvider {
  return { id, kek, resolveKeyId, ...(hintDenials && { hintDenials }) }
}

function deadlineOf(seconds: string): number {
  if (/^\d{1,3}$/.test(seconds) && Number(seconds) >= 1 && Number(seconds) <= 600)
    return Number(seconds) * 1000
  throw new KeyfoldError("INVALID_ARGUMENT", "--deadline is a whole number of seconds from 1 to 600")
}

/** A report as `--json` shows it. */
function shownOf({ result, keyId, checks, calls, maxCalls }: Report): object {
  return { result, keyId, checks, calls, maxCalls }
}

function progressOf(check: Check): string {
  return `${coloured(check.status, process.stderr)}  ${titleOf(check)}`
}

async function print({ result, keyId, checks, calls, maxCalls }: Report): Promise<void> {
  const { default: Table } = await import("cli-table3")
  const table = new Table({
    head: ["check", "status", "reason", "action", "side", "what was found"],
    colWidths: [null, null, null, null, null, 60],
    style: { head: [], border: [] },
    wordWrap: true,
  })
  for (const check of checks) {
    const { status, reason, action, side, message } = check
    const why = status === "pass" || status === "skipped" ? "" : reason
    const found = printable(message)
    table.push([titleOf(check), coloured(status, process.stdout), why, action ?? "", side ?? "", found])
  }
  console.log(table.toString())
  for (const check of checks) {
    if (check.fix === null || check.status === "pass") continue
    console.log(`\n${titleOf(check)}: ${printable(check.fix)}.`)
    if (check.policy !== null) console.log(`Add:\n${check.policy}`)
    if (check.propagationSeconds !== null) {
      console.log(`It can take ${check.propagationSeconds / 60} minutes to be seen.`)
    }
  }
  console.log(
    `\n${coloured(result, process.stdout)}: ${printable(keyId)}, ${calls} of at most ${maxCalls} KMS calls`,
  )
}

function titleOf({ id, region }: Check): string {
  return region === null ? id : `${id} (${printable(region)})`
}

function coloured(status: Check["status"], stream: NodeJS.WriteStream): string {
  return styleText(COLOURS[status], status, { stream })
}

const COLOURS = { pass: "green", warn: "yellow", fail: "red", skipped: "gray" } as const
