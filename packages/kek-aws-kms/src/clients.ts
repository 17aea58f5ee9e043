import { Agent as HttpAgent } from "node:http"
import { Agent as HttpsAgent } from "node:https"
import { KMSClient, type KMSClientConfig } from "@aws-sdk/client-kms"
import { fromTemporaryCredentials } from "@aws-sdk/credential-providers"
import { LRUCache } from "lru-cache"
import type { AwsKmsClient, AwsKmsTarget } from "./aws-kms.ts"
import { checkEndpoint, checkMilliseconds } from "./key-options.ts"

export type AwsKmsClientsOptions = {
  /** Who calls, and assumes the roles of other accounts. Without it the SDK's own chain of credentials is used. */
  readonly credentials?: NonNullable<KMSClientConfig["credentials"]>
  /** In place of AWS STS's own address in the key's region: `https:`, or `http:` on this machine. */
  readonly stsEndpoint?: string
  /** Bound of connecting in milliseconds; 1,000 unless told. */
  readonly connectTimeoutMs?: number
  /** Bound of one request, to KMS or to STS, in milliseconds; 5,000 unless told. */
  readonly requestTimeoutMs?: number
}

export type AwsKmsClients = {
  /** The client for a region and, for another account's key, a role. */
  readonly clientFor: (target: AwsKmsTarget) => AwsKmsClient
  /** Ends every connection. */
  readonly close: () => void
}

/**
 * Clients of the AWS SDK, one per region, endpoint, role and external id, all on one pool of connections. They do
 * not retry, for the router does, and they give up a request that takes too long instead of only logging it.
 * @throws KeyfoldError `INVALID_ARGUMENT` for a bad time-out or endpoint
 */
export function awsKmsClients({
  credentials,
  stsEndpoint,
  connectTimeoutMs = 1_000,
  requestTimeoutMs = 5_000,
}: AwsKmsClientsOptions = {}): AwsKmsClients {
  checkMilliseconds({ connectTimeoutMs, requestTimeoutMs })
  checkEndpoint(stsEndpoint)
  const pool = { keepAlive: true, maxSockets: MAX_SOCKETS }
  const httpAgent = new HttpAgent(pool)
  const httpsAgent = new HttpsAgent(pool)
  const shared = {
    maxAttempts: 1,
    requestHandler: {
      httpAgent,
      httpsAgent,
      connectionTimeout: connectTimeoutMs,
      requestTimeout: requestTimeoutMs,
      socketTimeout: requestTimeoutMs, // the same for an answer that stops in its middle
      throwOnRequestTimeout: true, // else the SDK only warns, and waits for ever
    },
  }
  const clients = new LRUCache<string, KMSClient>({ max: MAX_CLIENTS })

  function createClient({ region, endpoint, roleArn, externalId }: AwsKmsTarget): KMSClient {
    const config = { ...shared, region }
    const kmsConfig = { ...config, ...(endpoint !== undefined && { endpoint }) }
    if (roleArn === undefined) return new KMSClient({ ...kmsConfig, ...(credentials && { credentials }) })
    const assumed = fromTemporaryCredentials({
      ...(credentials && { masterCredentials: credentials }),
      params: {
        RoleArn: roleArn,
        RoleSessionName: SESSION_NAME,
        ...(externalId !== undefined && { ExternalId: externalId }),
      },
      clientConfig: { ...config, ...(stsEndpoint !== undefined && { endpoint: stsEndpoint }) },
    })
    return new KMSClient({ ...kmsConfig, credentials: assumed })
  }

  return {
    clientFor(target) {
      const key = JSON.stringify([target.region, target.endpoint, target.roleArn, target.externalId])
      let client = clients.get(key)
      if (client === undefined) {
        client = createClient(target)
        clients.set(key, client)
      }
      return client
    },
    close() {
      httpAgent.destroy()
      httpsAgent.destroy()
    },
  }
}

/** The SDK's own default, for each host. */
const MAX_SOCKETS = 50
/** A client holds little but the credentials of its role; one that was dropped assumes the role again. */
const MAX_CLIENTS = 1_000
/** What customers see in their CloudTrail. */
const SESSION_NAME = "keyfold"
