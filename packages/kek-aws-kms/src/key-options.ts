import { KeyfoldError } from "@keyfold/core"
import type { AwsKmsTarget } from "./aws-kms.ts"

/** How to reach a key. */
export type AwsKmsKeyOptions = {
  /** Must be the region of the ARN; it is needed only to resolve what is not an ARN. */
  readonly region?: string | undefined
  /** In place of AWS's own address, in every region: `https:`, or `http:` on this machine. */
  readonly endpoint?: string | undefined
  /** For a key of another account: the role there which keyfold assumes, */
  readonly roleArn?: string | undefined
  /** and the external id without which that role is not to be had. */
  readonly externalId?: string | undefined
  /** ARNs of replicas of a multi-Region key, in the order in which to try them when its own region has an outage. */
  readonly replicaKeyIds?: readonly string[] | undefined
}

/**
 * The key and its replicas, each with what its client needs.
 * @throws KeyfoldError `INVALID_ARGUMENT` where an id or option does not fit
 */
export function targetsOf(
  keyId: string,
  options: AwsKmsKeyOptions,
): { readonly arn: string; readonly target: AwsKmsTarget }[] {
  const key = parseArn(keyId)
  if (key === undefined) {
    throw invalid(
      "an aws-kms key id is the ARN of a key: resolve an alias or bare key id once, with resolveKeyId",
    )
  }
  checkAccess(options)
  const { region = key.region, endpoint, roleArn, externalId, replicaKeyIds = [] } = options
  if (region !== key.region) throw invalid(`the region of the key is ${key.region}, by its ARN`)
  const regions = new Set([key.region])
  for (const replicaKeyId of replicaKeyIds) {
    const replica = parseArn(replicaKeyId)
    const isReplica =
      replica?.id === key.id && replica.accountId === key.accountId && replica.partition === key.partition
    if (!isReplica || !key.id.startsWith("mrk-") || regions.has(replica.region)) {
      throw invalid(
        "a replica has the account and multi-Region id (mrk-…) of its key, and a region of its own",
      )
    }
    regions.add(replica.region)
  }
  return [keyId, ...replicaKeyIds].map((arn) => ({
    arn,
    target: { region: (parseArn(arn) as KeyArn).region, endpoint, roleArn, externalId },
  }))
}

/**
 * Checks what does not depend on the key.
 * @throws KeyfoldError `INVALID_ARGUMENT`
 */
export function checkAccess(options: AwsKmsKeyOptions): void {
  for (const name of Object.keys(options)) {
    if (!OPTION_NAMES.has(name)) throw invalid(`an aws-kms key has no option ${name}`)
  }
  const { region, endpoint, roleArn, externalId } = options
  // The SDK makes a host name of it.
  if (region !== undefined && !REGION.test(region)) throw invalid("a region is like eu-central-1")
  checkEndpoint(endpoint)
  if (roleArn !== undefined && !ROLE_ARN.test(roleArn)) {
    throw invalid("a role ARN is arn:aws:iam::ACCOUNT:role/NAME")
  }
  if (externalId !== undefined && (roleArn === undefined || !EXTERNAL_ID.test(externalId))) {
    throw invalid(
      "an external id has 2 to 1,224 characters of A-Z a-z 0-9 + = , . @ : / - _ and goes with a role ARN",
    )
  }
}

/** Key material passes through it, so TLS is required wherever it leaves the machine (CVE-2021-20328). */
export function checkEndpoint(endpoint: string | undefined): void {
  if (endpoint === undefined) return
  const url = URL.parse(endpoint)
  if (url?.protocol === "https:" || (url?.protocol === "http:" && LOOPBACK.test(url.hostname))) return
  throw invalid("an endpoint is an https: address, or an http: one on this machine")
}

export function checkMilliseconds(times: Readonly<Record<string, number>>): void {
  for (const [name, ms] of Object.entries(times)) {
    if (Number.isInteger(ms) && ms >= 1 && ms <= MAX_MS) continue
    throw invalid(`${name} is a whole number of milliseconds from 1 to 600,000`)
  }
}

type KeyArn = {
  readonly partition: string
  readonly region: string
  readonly accountId: string
  readonly id: string
}

/** The parts of a key ARN; undefined for anything else. */
export function parseArn(arn: string): KeyArn | undefined {
  const [, partition, region, accountId, id] = KEY_ARN.exec(arn) ?? []
  if (partition === undefined || region === undefined || accountId === undefined || id === undefined)
    return undefined
  return { partition, region, accountId, id }
}

function invalid(message: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", message)
}

const OPTION_NAMES: ReadonlySet<string> = new Set([
  "region",
  "endpoint",
  "roleArn",
  "externalId",
  "replicaKeyIds",
])
/** A key id is a UUID, or `mrk-` and 32 hex digits (AWS KMS Developer Guide, "Key identifiers"). */
const KEY_ARN =
  /^arn:(aws[a-z-]*):kms:([a-z0-9-]{1,32}):(\d{12}):key\/(mrk-[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$/
const REGION = /^[a-z0-9-]{1,32}$/
const ROLE_ARN = /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,576}$/
/** AWS STS API Reference, AssumeRole. */
const EXTERNAL_ID = /^[\w+=,.@:/-]{2,1224}$/
/** As for the engine's own deadline. */
const MAX_MS = 600_000
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/
