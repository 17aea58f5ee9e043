/**
 * `pnpm timing [--samples N]`: whether a MAC or tag that is wrong in its first byte is refused as fast as one that is wrong
 * in its last. Ends with 1 if not, or if a comparison that does stop early is not noticed.
 */
import { parseArgs } from "node:util"
import { leakySubject, subjects } from "./subjects.ts"
import { MAX_T, timingDifference } from "./welch.ts"

const { values } = parseArgs({ options: { samples: { type: "string", default: "1000000" } } })
const samples = Number(values.samples)
for (const subject of subjects()) {
  const t = timingDifference(subject, samples)
  const isEven = t < MAX_T
  console.log(
    `${subject.name}: |t| = ${t.toFixed(2)} of ${samples} samples, ${isEven ? "below" : "NOT below"} ${MAX_T}`,
  )
  if (!isEven) process.exitCode = 1
}
const leaky = timingDifference(leakySubject(), samples)
console.log(`to compare, a comparison that stops early: |t| = ${leaky.toFixed(2)}`)
if (leaky < MAX_T) process.exitCode = 1
