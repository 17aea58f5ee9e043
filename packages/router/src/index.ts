export type { Binding, HistoryEntry, KeyEntry } from "./binding.ts"
export {
  activateBinding,
  addBinding,
  type ChangeOptions,
  disableBinding,
  type ManagedPairs,
  type NewBinding,
  removeBinding,
  replaceKey,
  withoutHistory,
} from "./binding-changes.ts"
export type { BindingLookup } from "./binding-source.ts"
export { createRouter, type ManagedKeks, type RouterOptions } from "./router.ts"
