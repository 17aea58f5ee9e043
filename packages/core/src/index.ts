export { type KeyContext, type Pair, type ParsedContext, parseContext } from "./context.ts"
export type { DataKey, GenerateDataKeyOptions, GeneratedDataKey, RekeyOptions } from "./data-key.ts"
export type { OpenOptions } from "./engine.ts"
export type { Policy } from "./envelope.ts"
export { type FailureCode, type FailureDetails, KeyfoldError } from "./errors.ts"
export type { EnvelopeFacts, WrapFacts } from "./inspect.ts"
export {
  type Kek,
  type KekCallOptions,
  type KekFacts,
  type KekProvider,
  MANAGED_PROVIDER_ID,
  type WrapContext,
  type WrapRecord,
} from "./kek.ts"
export type { KeyfoldEvent, OperationName } from "./kek-call.ts"
export { createKeyfold, type Keyfold, type KeyfoldOptions } from "./keyfold.ts"
export type { DecryptItem, EncryptItem, ManyOptions, Result } from "./many.ts"
export type { Decrypted, DecryptOptions, EncryptOptions, Output, RewrapOptions } from "./message.ts"
export type { RangeSource } from "./range.ts"
export type { ReadCandidate, RouteEntry, RouteOptions, Router } from "./route.ts"
export type { DecryptedStream, EncryptStreamOptions } from "./stream.ts"
export { leasedBinding, type Scope, scopedBinding } from "./wrap-binding.ts"
