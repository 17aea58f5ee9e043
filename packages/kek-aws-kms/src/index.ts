export {
  type AwsKmsClient,
  type AwsKmsOptions,
  type AwsKmsProvider,
  type AwsKmsTarget,
  awsKms,
} from "./aws-kms.ts"
export { type AwsKmsClients, type AwsKmsClientsOptions, awsKmsClients } from "./clients.ts"
export type { AwsKmsKeyOptions } from "./key-options.ts"
