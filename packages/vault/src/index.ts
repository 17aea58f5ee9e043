export {
  type Actor,
  createVault,
  type Description,
  type Details,
  type Page,
  type Vault,
  type VaultObject,
} from "./vault.ts"
export { VaultError, type VaultErrorCode } from "./vault-error.ts"
export type {
  ListQuery,
  ObjectRow,
  VaultStore,
  VersionFacts,
  VersionHead,
  VersionRow,
  Written,
} from "./vault-store.ts"
