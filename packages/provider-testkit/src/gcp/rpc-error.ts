import { grpc } from "google-gax"
import { statusDetails } from "./protos.ts"

/** A detail of a status: a message of `google.rpc`, by its name. */
export type ErrorDetail =
  | {
      readonly type: "ErrorInfo"
      readonly reason: string
      readonly domain: string
      readonly metadata: Readonly<Record<string, string>>
    }
  | { readonly type: "RetryInfo"; readonly retryDelay: { readonly seconds: number } }

/** An error as Cloud KMS gives it: a gRPC status, its details in the trailer `grpc-status-details-bin`. */
export class RpcError extends Error {
  /** The name of `code`. */
  readonly status: keyof typeof grpc.status
  readonly code: grpc.status
  readonly details: string
  readonly metadata: grpc.Metadata

  constructor(status: keyof typeof grpc.status, message: string, details: readonly ErrorDetail[] = []) {
    super(message)
    this.name = "RpcError"
    this.status = status
    this.code = grpc.status[status]
    this.details = message
    this.metadata = new grpc.Metadata()
    if (details.length > 0) {
      const encoded = details.map(({ type, ...value }) => ({
        type_url: `type.googleapis.com/google.rpc.${type}`,
        value: encode(type, value),
      }))
      const trailer = encode("Status", { code: this.code, message, details: encoded })
      this.metadata.set("grpc-status-details-bin", Buffer.from(trailer))
    }
  }
}

/** A denial, in the words of Cloud IAM: it does not tell a key that is missing from one that is not yours. */
export function permissionDenied(permission: string, resource: string): RpcError {
  return new RpcError(
    "PERMISSION_DENIED",
    `Permission '${permission}' denied on resource '${resource}' (or it may not exist).`,
    [
      {
        type: "ErrorInfo",
        reason: "IAM_PERMISSION_DENIED",
        domain: "cloudkms.googleapis.com",
        metadata: { permission, resource },
      },
    ],
  )
}

function encode(name: string, value: object): Uint8Array {
  const type = statusDetails.lookupType(`google.rpc.${name}`)
  return type.encode(type.fromObject(value)).finish()
}
