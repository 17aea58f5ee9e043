/** `pnpm matrix`: validates each broken set-up in each cloud's emulator, and prints what is said of it. */
import Table from "cli-table3"
import { CELLS } from "../packages/byok/test/cells.ts"

const table = new Table({
  head: ["cloud", "set-up", "check", "reason", "denied action", "side", "fix"],
  colWidths: [null, null, null, null, null, null, 60],
  style: { head: [], border: [] },
  wordWrap: true,
})
let wrong = 0
for (const cell of CELLS) {
  const { report } = await cell.run()
  const found = report.checks.find(({ id, reason }) => id === cell.check && reason === cell.reason)
  const { cloud, setUp, check } = cell
  if (found?.status !== cell.status || found.action !== cell.action || found.side !== cell.side) wrong++
  const { reason = "MISSING", action, side, fix } = found ?? {}
  table.push([cloud, setUp, check, reason, action ?? "", side ?? "", fix ?? ""])
}
console.log(table.toString())
console.log(`${CELLS.length} cells: ${CELLS.length - wrong} as expected, ${wrong} not`)
process.exitCode = wrong === 0 ? 0 : 1
