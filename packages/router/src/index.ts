export type { Binding, HistoryEntry, KeyEntry } from "./binding.ts"
export {
  addBinding,
  type ChangeOptions,
  type ManagedPairs,
  type NewBinding,
  removeBinding,
  replaceKey,
  withoutHistory,
} from "./binding-changes.ts"
export type { BindingLookup } from "./binding-source.ts"
export { createRouter, type ManagedKeks, type RouterOptions } from "./router.ts"
