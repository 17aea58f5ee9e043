export {
  type Actor,
  createVault,
  type Description,
  type Page,
  type Vault,
  type VaultObject,
} from "./vault.ts"
export { VaultError, type VaultErrorCode } from "./vault-error.ts"
export type { ListQuery, ObjectRow, VaultStore, VersionFacts, VersionRow, Written } from "./vault-store.ts"
