import type { HttpReply } from "../http-service.ts"

/** A failure as AWS KMS puts it on the wire: a name and a message. */
export class AwsError extends Error {
  readonly status: number
  readonly retryAfterSeconds: number | undefined

  constructor(name: string, message: string, status = 400, retryAfterSeconds?: number) {
    super(message)
    this.name = name
    this.status = status
    this.retryAfterSeconds = retryAfterSeconds
  }
}

/** AWS JSON 1.1. */
export function jsonReply(body: object, status = 200): HttpReply {
  return { status, headers: { "content-type": "application/x-amz-json-1.1" }, body: JSON.stringify(body) }
}

export function jsonError(error: AwsError): HttpReply {
  const reply = jsonReply({ __type: error.name, message: error.message }, error.status)
  if (error.retryAfterSeconds === undefined) return reply
  return { ...reply, headers: { ...reply.headers, "retry-after": String(error.retryAfterSeconds) } }
}

export function keyNotFound(keyId: string): AwsError {
  return new AwsError("NotFoundException", `Key '${keyId}' does not exist`)
}

export function invalidState(arn: string, complaint: string): AwsError {
  return new AwsError("KMSInvalidStateException", `${arn} ${complaint}.`)
}

export function invalid(message: string): AwsError {
  return new AwsError("ValidationException", message)
}
