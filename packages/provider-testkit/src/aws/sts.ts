import { randomBytes } from "node:crypto"
import type { HttpReply } from "../http-service.ts"
import type { Access, Principal, Role } from "./access.ts"
import { AwsError } from "./aws-error.ts"

/**
 * Answers a call of AWS STS.
 * @throws AwsError as the service does
 */
export function answerSts(
  access: Access,
  caller: Principal,
  action: string,
  form: URLSearchParams,
): HttpReply {
  if (action === "AssumeRole") return assumeRole(access, caller, form)
  if (action === "GetCallerIdentity") return getCallerIdentity(caller)
  throw new AwsError("InvalidAction", `Could not find operation ${action}`)
}

/** An error of the query protocol. */
export function xmlError(error: AwsError): HttpReply {
  const type = element("Type", error.status < 500 ? "Sender" : "Receiver")
  return xmlReply(
    error.status,
    `<ErrorResponse xmlns="${NAMESPACE}"><Error>${type}${element("Code", error.name)}` +
      `${element("Message", error.message)}</Error>${element("RequestId", randomTag())}</ErrorResponse>`,
  )
}

/** An unknown role and another external id look alike; one that a role does not ask for does no harm. */
function assumeRole(access: Access, caller: Principal, form: URLSearchParams): HttpReply {
  const arn = form.get("RoleArn") ?? ""
  const session = form.get("RoleSessionName") ?? ""
  const lifetimeSeconds = Number(form.get("DurationSeconds") ?? DEFAULT_LIFETIME_SECONDS)
  if (!/^[\w+=,.@-]{2,64}$/.test(session))
    throw new AwsError("ValidationError", "RoleSessionName is not valid")
  if (!(lifetimeSeconds >= 900 && lifetimeSeconds <= 43_200)) {
    throw new AwsError("ValidationError", "DurationSeconds must be from 900 to 43200")
  }
  const role = access.roles.get(arn)
  const isWithoutId = role?.externalId !== undefined && role.externalId !== form.get("ExternalId")
  if (role === undefined || isWithoutId) {
    throw new AwsError(
      "AccessDenied",
      `User: ${caller.arn} is not authorized to perform: sts:AssumeRole on resource: ${arn}`,
      403,
    )
  }
  const assumed = { accountId: role.accountId, arn: sessionArn(role, session) }
  const credentials = access.issue(assumed, lifetimeSeconds)
  const expiration = new Date(Date.now() + lifetimeSeconds * 1000).toISOString()
  return xmlReply(
    200,
    `<AssumeRoleResponse xmlns="${NAMESPACE}"><AssumeRoleResult><Credentials>` +
      element("AccessKeyId", credentials.accessKeyId) +
      element("SecretAccessKey", credentials.secretAccessKey) +
      element("SessionToken", credentials.sessionToken ?? "") +
      element("Expiration", expiration) +
      `</Credentials><AssumedRoleUser>${element("Arn", assumed.arn)}` +
      `${element("AssumedRoleId", `AROA${randomTag()}:${session}`)}</AssumedRoleUser></AssumeRoleResult>` +
      `<ResponseMetadata>${element("RequestId", randomTag())}</ResponseMetadata></AssumeRoleResponse>`,
  )
}

/** Everybody may call it. */
function getCallerIdentity(caller: Principal): HttpReply {
  return xmlReply(
    200,
    `<GetCallerIdentityResponse xmlns="${NAMESPACE}"><GetCallerIdentityResult>${element("Arn", caller.arn)}` +
      `${element("UserId", randomTag())}${element("Account", caller.accountId)}</GetCallerIdentityResult>` +
      `</GetCallerIdentityResponse>`,
  )
}

function xmlReply(status: number, body: string): HttpReply {
  return { status, headers: { "content-type": "text/xml" }, body }
}

function element(name: string, text: string): string {
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
  return `<${name}>${escaped}</${name}>`
}

function sessionArn(role: Role, session: string): string {
  return `arn:aws:sts::${role.accountId}:assumed-role/${role.arn.split("/").at(-1)}/${session}`
}

function randomTag(): string {
  return randomBytes(8).toString("hex").toUpperCase()
}

const NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
const DEFAULT_LIFETIME_SECONDS = 3600
