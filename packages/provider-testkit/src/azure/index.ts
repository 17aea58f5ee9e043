export type { AzureAccessLayer, AzurePermission } from "./access.ts"
export {
  type AzureClientOptions,
  type AzureCredentialOptions,
  type AzureEmulator,
  type AzureEmulatorOptions,
  type AzureKeyOptions,
  type AzureKeyState,
  startAzureEmulator,
} from "./azure-emulator.ts"
export type { AzureKeyType } from "./key-store.ts"
export type { AzureClient } from "./token-endpoint.ts"
