export type { Canary } from "./canary.ts"
export { type Policy, type PolicyRequest, policiesFor } from "./policy.ts"
export {
  type Check,
  type CheckId,
  isOutage,
  type Reason,
  type Report,
  type Side,
  worstCheck,
} from "./report.ts"
export {
  type CmkBinding,
  type CmkOptions,
  type CmkProvider,
  type ValidateOptions,
  validateCmk,
} from "./validate.ts"
