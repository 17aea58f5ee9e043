export { type Binding, type Canary, type HistoryEntry, type KeyEntry, parseBinding } from "./binding.ts"
export {
  activateBinding,
  addBinding,
  type ChangeOptions,
  disableBinding,
  type NewBinding,
  type NewKey,
  removeBinding,
  replaceKey,
  withoutHistory,
} from "./binding-changes.ts"
export type { BindingLookup } from "./binding-source.ts"
export { type LeaseOptions, leased } from "./leased.ts"
export type { ManagedKeks } from "./managed-keks.ts"
export { type ResilienceOptions, resilient } from "./resilient.ts"
export { type BindingRouter, createRouter, type RouterOptions } from "./router.ts"
