import { expect, test } from "vitest"
import { leakySubject, subjects } from "../timing/subjects.ts"
import { MAX_T, timingDifference } from "../timing/welch.ts"

/** `pnpm timing` takes a million. */
const SAMPLES = 20_000
/** A difference that is there stays; one that the machine made does not. */
const TRIES = 3

test.each(subjects().map((subject) => [subject.name, subject] as const))(
  "%s takes as long for a wrong first byte as for a wrong last one",
  (_, subject) => {
    let least = Number.POSITIVE_INFINITY
    for (let i = 0; i < TRIES && least >= MAX_T; i++) {
      least = Math.min(least, timingDifference(subject, SAMPLES))
    }
    expect(least).toBeLessThan(MAX_T)
  },
)

test("a comparison that stops at the first difference is noticed", () => {
  expect(timingDifference(leakySubject(), SAMPLES)).toBeGreaterThan(MAX_T)
})
