export {
  type Actor,
  type EventSubject,
  type EventType,
  eventRow,
  linkEvents,
  readEvent,
  type VaultEvent,
  verifyEvents,
} from "./event.ts"
export { EventBuffer, type EventSink } from "./event-buffer.ts"
export type { Value } from "./object-cipher.ts"
export { type PurgeOptions, purgeDeleted } from "./purge.ts"
export { type SweepOptions, type SweepProgress, type SweepResult, sweep } from "./sweep.ts"
export {
  exportObjects,
  type ImportOptions,
  type ImportResult,
  importObjects,
  type Offered,
  readArchive,
  type Transferred,
  writeArchive,
} from "./transfer.ts"
export {
  createVault,
  type Description,
  type Details,
  type Page,
  type ReadOptions,
  type Vault,
  type VaultDataKey,
  type VaultObject,
  type VaultOptions,
} from "./vault.ts"
export { VaultError, type VaultErrorCode } from "./vault-error.ts"
export type {
  ApiKeyRow,
  Claimed,
  Due,
  EventQuery,
  EventRow,
  Link,
  LinkedEvent,
  ListQuery,
  ObjectRow,
  Resealing,
  Sealed,
  SweepRow,
  TokenRow,
  VaultStore,
  VersionFacts,
  VersionHead,
  VersionRow,
  WebhookProgress,
  WebhookRow,
  Written,
} from "./vault-store.ts"
export { type OpenWorkosBlobOptions, openWorkosBlob } from "./workos-blob.ts"
