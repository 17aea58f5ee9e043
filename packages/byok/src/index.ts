export { bindingFor, bindValidated, ownerOf, type ValidatedKey } from "./bind.ts"
export {
  checkHealth,
  type Health,
  type HealthChange,
  type HealthOptions,
  type HealthWatch,
  watchHealth,
} from "./health.ts"
export { activateVerified, checkOneTenant, proofOf, verifyBinding, withProof } from "./lifecycle.ts"
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
