export type { AwsCredentials, PolicyLayer } from "./access.ts"
export {
  type AwsClientOptions,
  type AwsEmulator,
  type AwsRoleOptions,
  startAwsEmulator,
} from "./aws-emulator.ts"
export type { AwsKeyOptions, AwsKeyState } from "./key-store.ts"
