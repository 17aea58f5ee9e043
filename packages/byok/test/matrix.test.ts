import { expect, test } from "vitest"
import { CELLS, type Cell } from "./cells.ts"
import { SECRET_VALUE } from "./clouds.ts"

test.each(CELLS.map((cell) => [cell.cloud, cell.setUp, cell] as const))(
  "%s: %s",
  async (_cloud, _setUp, cell) => {
    const { report, kmsCalls } = await cell.run()
    const { check, status, reason, action, side, fix } = cell
    expect(report.checks).toContainEqual(
      expect.objectContaining({ id: check, status, reason, action, side, fix }),
    )
    expect(report.result).toBe(status)
    expect(report.checks.filter((each) => each.status === "fail" && !isSaidBy(cell, each.reason))).toEqual([])
    expect(report.calls).toBeLessThanOrEqual(report.maxCalls)
    // A role that is not to be had, and an answer that never comes, keep a request from being counted there.
    if (reason !== "ROLE_DENIED" && reason !== "TIMED_OUT") expect(report.calls).toBe(kmsCalls)
    const told = JSON.stringify(report.checks.map(({ policy: _, ...rest }) => rest))
    expect(told).not.toContain(SECRET_VALUE)
  },
)

/** The same trouble can show in more than one check. */
function isSaidBy({ reason, setUp }: Cell, found: string): boolean {
  return found === reason || (setUp === "the external id left out" && found === "EXTERNAL_ID_MISSING")
}

test("there are cells enough, and no two of one name", () => {
  expect(CELLS.length).toBeGreaterThanOrEqual(40)
  expect(new Set(CELLS.map(({ cloud, setUp }) => `${cloud} ${setUp}`)).size).toBe(CELLS.length)
})
