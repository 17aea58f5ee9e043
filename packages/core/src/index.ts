export { type KeyContext, type Pair, type ParsedContext, parseContext } from "./context.ts"
export { type FailureCode, type FailureDetails, KeyfoldError } from "./errors.ts"
export {
  type Kek,
  type KekCallOptions,
  type KekFacts,
  type KekProvider,
  MANAGED_PROVIDER_ID,
  type WrapContext,
  type WrapRecord,
} from "./kek.ts"
export type { ReadCandidate, RouteEntry, RouteOptions, Router } from "./route.ts"
export { leasedBinding, type Scope, scopedBinding } from "./wrap-binding.ts"
