import { styleText } from "node:util"
import type { Check, CmkBinding, Report } from "@keyfold/byok"
import { KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import { isSameMatch } from "../bindings.ts"
import { readBindings, writeBindings } from "../bindings-file.ts"
import { recordByok } from "../byok-events.ts"
import { cmkProvider, type SubjectOptions, subjectOf } from "../byok-subject.ts"
import { createClouds } from "../clouds.ts"
import { exitCodeOf, printable } from "../failure.ts"
import { whileHomeLocked } from "../home.ts"

type Options = SubjectOptions & {
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
    const provider = cmkProvider(id, await clouds.cloud(id))
    const { principal } = options
    const isWatched = process.stderr.isTTY && !options.json
    const report = await validateCmk(provider, binding, {
      ...{ deadlineMs, principal },
      ...(isWatched && { onCheck: (check: Check) => console.error(progressOf(check)) }),
    })
    if (options.provider === undefined) {
      await keepProof(options, binding, report)
      const bound = { provider: id, match: binding.match }
      await recordByok(options, "vault.byok_key.verification_completed", bound, report.result !== "fail")
    }
    if (options.json) console.log(JSON.stringify(shownOf(report)))
    else await print(report)
    const worst = worstCheck(report)
    if (worst !== undefined) process.exitCode = exitCodeOf(worst.code ?? "UNKNOWN")
  } finally {
    await clouds.close()
  }
}

/** With the binding as it is by then: it can have got another key meanwhile. */
async function keepProof(options: Options, { match }: CmkBinding, report: Report): Promise<void> {
  if (report.canary === undefined) return
  const { withProof } = await import("@keyfold/byok")
  await whileHomeLocked(options, async (paths) => {
    const bindings = await readBindings(paths)
    const isMeant = (each: Binding) => isSameMatch(each.match, match) && each.state !== "removed"
    const kept = bindings.map((each) => (isMeant(each) ? withProof(each, report) : each))
    await writeBindings(paths, kept)
  })
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
  const told = new Set<string>()
  // What failed tells its fix before a hint, a warning, has told the same.
  for (const check of checks.toSorted((a, b) => Number(b.status === "fail") - Number(a.status === "fail"))) {
    const advice = JSON.stringify([check.fix, check.policy])
    if (check.fix === null || check.status === "pass" || told.has(advice)) continue
    told.add(advice)
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
