export { type GcpKmsClient, type GcpKmsOptions, type GcpKmsProvider, gcpKms } from "./gcp-kms.ts"
