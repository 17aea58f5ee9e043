export {
  type GcpConnection,
  type GcpEmulator,
  type GcpKeyOptions,
  startGcpEmulator,
} from "./gcp-emulator.ts"
export type { GcpProtectionLevel, GcpVersionState } from "./key-store.ts"
