export type { Binding, HistoryEntry, KeyEntry } from "./binding.ts"
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
export type { Decorate, DecoratedEntry } from "./entry-keks.ts"
export type { ManagedKeks } from "./managed-keks.ts"
export { type BindingRouter, createRouter, type RouterOptions } from "./router.ts"
