export type { KekMeta, KekRow, KekState, KekStore, KekUsage } from "./kek-store.ts"
export {
  createManagedProvider,
  type ManagedKekEvent,
  type ManagedKeyInfo,
  type ManagedProvider,
  type ManagedProviderOptions,
} from "./managed-provider.ts"
export { memoryStore } from "./memory-store.ts"
export type { RootKey } from "./root-key.ts"
export { rootKindOf } from "./sealing-keys.ts"
