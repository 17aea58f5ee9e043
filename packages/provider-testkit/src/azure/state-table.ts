import { AzureError } from "./azure-error.ts"
import { type KeyVersion, nowSeconds } from "./key-store.ts"

/** An operation that uses the key's material. */
export type CryptoOperation = "encrypt" | "decrypt" | "wrapKey" | "unwrapKey"

/**
 * How the attributes of a key affect an operation with it (Azure Key Vault, "About keys": a disabled key does
 * nothing, one outside of its dates still decrypts and unwraps).
 * @param disabledKeysWrap the service as azure-sdk-for-python#45342 saw it: a disabled key encrypts and wraps
 * @throws AzureError `Forbidden` with an inner code
 */
export function checkState(
  operation: CryptoOperation,
  { attributes, keyOps }: KeyVersion,
  disabledKeysWrap: boolean,
): void {
  const makes = operation === "encrypt" || operation === "wrapKey"
  const now = nowSeconds()
  if (!attributes.enabled && !(makes && disabledKeysWrap)) {
    throw refused("KeyDisabled", `Operation ${operation} is not allowed on a disabled key.`)
  }
  if (makes && attributes.nbf !== undefined && now < attributes.nbf) {
    throw refused("KeyNotYetValid", `Operation ${operation} is not allowed on a key that is not yet valid.`)
  }
  if (makes && attributes.exp !== undefined && now >= attributes.exp) {
    throw refused("KeyExpired", `Operation ${operation} is not allowed on an expired key.`)
  }
  if (!keyOps.includes(operation)) {
    throw refused("KeyOperationForbidden", `Operation ${operation} is not permitted on this key.`)
  }
}

function refused(innerCode: string, message: string): AzureError {
  return new AzureError(403, "Forbidden", message, innerCode)
}
