export { type AzureKeyVaultOptions, type AzureKeyVaultProvider, azureKeyVault } from "./azure-keyvault.ts"
export type { AzureKeyOptions } from "./key-id.ts"
export type { ConnectionOptions } from "./vault-client.ts"
export type { AzureKeyAlgorithm } from "./wrapped-form.ts"
