export type { PostgresOptions } from "./database.ts"
export { postgresKekStore } from "./kek-store.ts"
export { postgresVaultStore } from "./vault-store.ts"
