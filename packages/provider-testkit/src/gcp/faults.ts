import { fillRandom } from "@keyfold/core/crypto"
import type { Fault } from "../emulator.ts"
import { crc32c } from "./crc32c.ts"
import { permissionDenied, RpcError } from "./rpc-error.ts"

/** The error that a fault answers with instead of the service, if it does. */
export function refusal(
  fault: Fault,
  permission: string | undefined,
  resource: string,
): RpcError | undefined {
  switch (fault.kind) {
    case "throttle":
      return new RpcError(
        "RESOURCE_EXHAUSTED",
        "Quota exceeded for quota metric 'Cryptographic requests' of service 'cloudkms.googleapis.com'.",
        fault.retryAfterSeconds === undefined
          ? []
          : [{ type: "RetryInfo", retryDelay: { seconds: fault.retryAfterSeconds } }],
      )
    case "server-error":
      return new RpcError("INTERNAL", "Internal error encountered.")
    case "deny":
      return permissionDenied(permission ?? "", resource)
    default:
      return undefined
  }
}

/** The request with a flipped bit, as a bad network would deliver it. */
export function damageRequest(request: object): object {
  return flipFirst(request, ["plaintext", "ciphertext"])
}

/** The reply as a fault makes the caller see it; bytes are sent as they are, in place of a message. */
export function damageReply(fault: Fault, reply: object, encode: (reply: object) => Buffer): object {
  switch (fault.kind) {
    case "other-key":
      return "plaintext" in reply ? anotherPlaintext(reply) : reply
    case "crc":
      return fault.where === "reply" ? flipFirst(reply, ["ciphertext", "plaintext"]) : reply
    case "truncated": {
      const message = encode(reply)
      return message.subarray(0, message.length - 1 - (message.length >> 1))
    }
    case "garbage":
      return Buffer.from("<html>503 Service Unavailable</html>")
    default:
      return reply
  }
}

/** What another call would have decrypted, with a checksum that holds. */
function anotherPlaintext(reply: object): object {
  const plaintext = new Uint8Array(32)
  fillRandom(plaintext)
  return { ...reply, plaintext, plaintextCrc32c: { value: crc32c(plaintext) } }
}

function flipFirst(message: object, fields: readonly string[]): object {
  const field = fields.find((name) => (message as Record<string, unknown>)[name] instanceof Uint8Array)
  if (field === undefined) return message
  const bytes = Uint8Array.from((message as Record<string, Uint8Array>)[field] as Uint8Array)
  if (bytes.length > 0) bytes[0] = (bytes[0] as number) ^ 1
  return { ...message, [field]: bytes }
}
