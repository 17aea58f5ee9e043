import { createHash, createHmac, timingSafeEqual } from "node:crypto"
import type { HttpCall } from "../http-service.ts"
import { AwsError } from "./aws-error.ts"

/** What a request's Authorization header says about it, before anything is checked. */
export type Signature = {
  readonly accessKeyId: string
  /** `date/region/service/aws4_request` */
  readonly scope: string
  readonly region: string
  readonly service: string
  readonly signedHeaders: string
  readonly signature: string
}

/**
 * Reads AWS Signature Version 4 (IAM User Guide, "Create a signed AWS API request").
 * @throws AwsError where there is none
 */
export function readSignature(call: HttpCall): Signature {
  const match = AUTHORIZATION.exec(call.headers.authorization ?? "")
  if (match === null)
    throw new AwsError("MissingAuthenticationTokenException", "Missing Authentication Token", 403)
  const [, accessKeyId = "", scope = "", signedHeaders = "", signature = ""] = match
  const [, region = "", service = ""] = scope.split("/")
  return { accessKeyId, scope, region, service, signedHeaders, signature }
}

/** Whether the request was signed with this secret key, not long ago. The path must have no query. */
export function isSignedBy(
  call: HttpCall,
  { scope, signedHeaders, signature }: Signature,
  secret: string,
): boolean {
  const sentAt = String(call.headers["x-amz-date"])
  const [, ...parts] = DATE.exec(sentAt) ?? []
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.map(Number)
  const skewMs = Math.abs(Date.now() - Date.UTC(year, month - 1, day, hour, minute, second))
  if (!(skewMs <= MAX_SKEW_MS) || !sentAt.startsWith(scope.split("/", 1)[0] as string)) return false

  const headers = signedHeaders.split(";").map((name) => `${name}:${String(call.headers[name]).trim()}\n`)
  const canonical = [call.method, call.path, "", headers.join(""), signedHeaders, sha256(call.body)].join(
    "\n",
  )
  const toSign = ["AWS4-HMAC-SHA256", sentAt, scope, sha256(canonical)].join("\n")
  const key = scope
    .split("/")
    .reduce<string | Buffer>((derived, part) => hmac(derived, part), `AWS4${secret}`)
  const expected = hmac(key, toSign)
  const found = Buffer.from(signature, "hex")
  return found.length === expected.length && timingSafeEqual(found, expected)
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex")
}

function hmac(key: string | Buffer, data: string): Buffer {
  return createHmac("sha256", key).update(data).digest()
}

const AUTHORIZATION =
  /^AWS4-HMAC-SHA256 Credential=([\w]+)\/([\w/-]+),\s*SignedHeaders=([\w;-]+),\s*Signature=([0-9a-f]{64})$/
const DATE = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/
/** What AWS allows a clock to be off. */
const MAX_SKEW_MS = 5 * 60 * 1000
