import { styleText } from "node:util"
import { createClouds } from "../clouds.ts"
import {
  checkBindings,
  checkClock,
  checkDisk,
  checkHome,
  checkNode,
  checkPermissions,
  checkProviders,
  checkStore,
} from "../doctor-checks.ts"
import { exitCodeOf, printable } from "../failure.ts"
import { type Finding, skip } from "../finding.ts"
import { type HomeOptions, homePaths } from "../home.ts"
import { fixSlots } from "../slot-fix.ts"

type Options = HomeOptions & { offline?: true; fix?: true; json?: true }

/** Looks at the installation; opening the home settles a rotation that was cut off, and nothing else is changed without `--fix`. */
export async function doctor(options: Options): Promise<void> {
  if (options.fix && checkHome(options).status === "pass") await fixSlots(options)
  const findings = await examine(options)
  const has = (status: Finding["status"]) => findings.some((each) => each.status === status)
  const result = has("fail") ? "fail" : has("warn") ? "warn" : "pass"
  if (options.json) console.log(JSON.stringify({ result, checks: findings }))
  else {
    for (const { id, status, message, fix } of findings) {
      const mark = styleText(COLOURS[status], status.padEnd(7), { stream: process.stdout })
      console.log(
        `${mark}  ${id.padEnd(11)}  ${printable(message)}${fix === null ? "" : `; ${printable(fix)}`}`,
      )
    }
  }
  const failed = findings.filter(({ status }) => status === "fail")
  const worst = failed.find(({ code }) => code !== "UNAVAILABLE") ?? failed[0]
  if (worst !== undefined) process.exitCode = exitCodeOf(worst.code ?? "UNKNOWN")
}

async function examine(options: Options): Promise<readonly Finding[]> {
  const home = checkHome(options)
  const installed = [checkNode(process.versions.node), home]
  if (home.status === "fail") return installed
  const paths = homePaths(options)
  const permissions = await checkPermissions(paths)
  const store = await checkStore(options, !options.offline)
  const disk = await checkDisk(paths)
  const { finding, bindings } = await checkBindings(paths)
  const found = [...installed, permissions, ...store, disk, finding]
  const clock = await checkClock(bindings, !options.offline)
  if (options.offline) return [...found, clock, skip("provider", "no cloud is asked")]
  const clouds = createClouds()
  try {
    return [...found, clock, ...(await checkProviders(bindings, clouds))]
  } finally {
    await clouds.close()
  }
}

const COLOURS = { pass: "green", warn: "yellow", fail: "red", skipped: "gray" } as const
