export { type GcpKmsClient, type GcpKmsOptions, gcpKms } from "./gcp-kms.ts"
