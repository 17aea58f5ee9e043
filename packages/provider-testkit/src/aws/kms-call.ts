import type { Access, Principal } from "./access.ts"
import type { KeyStore } from "./key-store.ts"

/** One call of AWS KMS, authenticated, with what it works on. */
export type KmsCall = {
  readonly operation: string
  readonly input: Readonly<Record<string, unknown>>
  readonly region: string
  readonly caller: Principal
  readonly store: KeyStore
  readonly access: Access
}

/** Operations by name. Each throws an AwsError as the service does: the key, the permission, its state, the rest. */
export type Operations = Readonly<Record<string, (call: KmsCall) => object>>

/** A member that may be missing. */
export function text(value: unknown, fallback: string): string {
  return typeof value === "string" ? value : fallback
}
