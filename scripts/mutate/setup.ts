/** Fewer runs of each property, and none to make a counterexample smaller: a mutant is only to be found. */
import fc from "fast-check"

fc.configureGlobal({ numRuns: 15, endOnFailure: true })
