import { randomBytes, randomUUID } from "node:crypto"
import {
  type Fault,
  FaultPlan,
  type InjectOptions,
  type KmsEmulator,
  type RecordedCall,
} from "../emulator.ts"
import { damage, type HttpCall, type HttpReply, startHttpService, transportFaults } from "../http-service.ts"
import { Access, type AwsCredentials, accessDenied, type PolicyLayer, type Principal } from "./access.ts"
import { AwsError, invalid, jsonError, jsonReply } from "./aws-error.ts"
import { CRYPTO_OPERATIONS } from "./crypto-operations.ts"
import { KEY_OPERATIONS } from "./key-operations.ts"
import { type AwsKey, type AwsKeyOptions, type AwsKeyState, arnOf, KeyStore } from "./key-store.ts"
import type { KmsCall, Operations } from "./kms-call.ts"
import { readSignature } from "./sigv4.ts"
import { answerSts, xmlError } from "./sts.ts"

/** A local AWS KMS, with the part of STS that roles need, which the unmodified AWS SDK talks to. */
export interface AwsEmulator extends KmsEmulator {
  /** Where `createKey` puts its keys. The emulator answers for every region, the one that a request is signed for. */
  readonly region: string
  /** The account that `credentials` belong to. */
  readonly accountId: string
  /** Of a user who may do everything there. */
  readonly credentials: AwsCredentials
  /** Options for `new KMSClient(…)` and `new STSClient(…)`. */
  clientOptions(region?: string): AwsClientOptions
  /** Makes an enabled key. Gives its ARN. */
  createKey(options?: Partial<AwsKeyOptions>): string
  /** Makes a replica of a multi-Region key. Gives its ARN. */
  replicateKey(keyArn: string, region: string): string
  /** `name` begins with `alias/`. Gives the alias ARN. */
  createAlias(name: string, keyArn: string): string
  /** New key material; what was encrypted before still decrypts. */
  rotate(keyArn: string): void
  /** Puts a key into a state, as time or an operator would. `Deleted` ends it. */
  setState(keyArn: string, state: AwsKeyState | "Deleted"): void
  /** Takes an action such as `kms:Decrypt` away in one layer of policy, for one key or for all. */
  deny(layer: PolicyLayer, action: string, keyArn?: string): void
  allow(layer: PolicyLayer, action: string, keyArn?: string): void
  /** Makes a role in another account, which assumes it only with the external id, if it has one. Gives its ARN. */
  createRole(options: AwsRoleOptions): string
}

export type AwsClientOptions = {
  readonly endpoint: string
  readonly region: string
  readonly credentials: AwsCredentials
}

export type AwsRoleOptions = {
  readonly accountId: string
  readonly name: string
  readonly externalId?: string
}

/** Starts an emulator on 127.0.0.1; port 0, the default, takes any free one. Its keys live as long as it does. */
export async function startAwsEmulator(options: { readonly port?: number } = {}): Promise<AwsEmulator> {
  const store = new KeyStore()
  const access = new Access()
  const plan = new FaultPlan()
  const calls: RecordedCall[] = []
  const user: Principal = { accountId: ACCOUNT_ID, arn: `arn:aws:iam::${ACCOUNT_ID}:user/keyfold` }
  const credentials = access.issue(user)
  let decoy: AwsKey | undefined

  /** KMS: JSON 1.1. */
  async function serveKms(call: HttpCall): Promise<HttpReply> {
    const operation = String(call.headers["x-amz-target"]).replace(/^TrentService\./, "")
    const signature = readSignature(call)
    // Faults come before authentication; whose key an id without an account is, is a guess until then.
    const input = parseInput(call.body)
    const kms: KmsCall = { operation, input, region: signature.region, caller: user, store, access }
    const arn = keyArnOf(kms)
    return record(operation, arn, async () => {
      const faults = plan.take(operation, arn)
      await transportFaults(faults, call)
      refuse(faults)
      const caller = access.authenticate(call, signature)
      const isFault = (kind: Fault["kind"]) => faults.some((fault) => fault.kind === kind)
      if (isFault("deny")) {
        throw accessDenied(
          caller,
          `kms:${operation}`,
          arn,
          "with an explicit deny in a resource-based policy",
        )
      }
      const output = isFault("other-key") ? answerForAnotherKey(kms) : answer({ ...kms, caller })
      return damage(faults, jsonReply(output))
    })
  }

  /** STS: the query protocol, recorded under the role's ARN. */
  async function serveSts(call: HttpCall): Promise<HttpReply> {
    const form = new URLSearchParams(Buffer.from(call.body).toString())
    const operation = form.get("Action") ?? ""
    const roleArn = form.get("RoleArn") ?? ""
    return record(operation, roleArn, async () => {
      const faults = plan.take(operation, roleArn)
      await transportFaults(faults, call)
      refuse(faults)
      const caller = access.authenticate(call, readSignature(call))
      return damage(faults, answerSts(access, caller, operation, form))
    })
  }

  async function record(
    operation: string,
    keyId: string,
    serve: () => Promise<HttpReply>,
  ): Promise<HttpReply> {
    const at = Date.now()
    try {
      const reply = await serve()
      calls.push({ operation, keyId, at, ok: true })
      return reply
    } catch (error) {
      const name = error instanceof AwsError ? error.name : "ConnectionLost"
      calls.push({ operation, keyId, at, ok: false, error: name })
      throw error
    }
  }

  async function serve(call: HttpCall): Promise<HttpReply> {
    const isKms = call.headers["x-amz-target"] !== undefined
    try {
      return await (isKms ? serveKms(call) : serveSts(call))
    } catch (error) {
      if (error instanceof AwsError) return isKms ? jsonError(error) : xmlError(error)
      throw error
    }
  }

  function answerForAnotherKey(call: KmsCall): object {
    decoy ??= store.create({ region: call.region, accountId: ACCOUNT_ID })
    const toDecoy = { ...call, input: { ...call.input, KeyId: decoy.arn } }
    if (call.operation !== "Decrypt") return answer(toDecoy)
    return { Plaintext: randomBytes(32).toString("base64"), KeyId: decoy.arn }
  }

  function keyAt(arn: string): AwsKey {
    return store.find(arn, arn.split(":")[3] ?? "", ACCOUNT_ID)
  }

  const service = await startHttpService({
    port: options.port ?? 0,
    answer: async (call) => {
      const reply = await serve(call)
      return { ...reply, headers: { ...reply.headers, "x-amzn-requestid": randomUUID() } }
    },
  })
  const url = `http://127.0.0.1:${service.port}`

  return {
    url,
    region: REGION,
    accountId: ACCOUNT_ID,
    credentials,
    calls,
    clientOptions: (region = REGION) => ({ endpoint: url, region, credentials }),
    createKey: (keyOptions = {}) =>
      store.create({ region: REGION, accountId: ACCOUNT_ID, ...keyOptions }).arn,
    replicateKey: (arn, region) => store.replicate(keyAt(arn), region).arn,
    createAlias(name, arn) {
      const key = keyAt(arn)
      const alias = arnOf(key.region, key.accountId, name)
      store.aliases.set(alias, arn)
      return alias
    },
    rotate: (arn) => store.rotate(keyAt(arn)),
    setState(arn, state) {
      const key = keyAt(arn)
      if (state === "Deleted") store.delete(key)
      else key.state = state
    },
    deny: (layer, action, arn) => access.withhold(layer, action, arn),
    allow: (layer, action, arn) => access.restore(layer, action, arn),
    createRole({ accountId, name, externalId }) {
      const arn = `arn:aws:iam::${accountId}:role/${name}`
      access.roles.set(arn, { arn, accountId, externalId })
      return arn
    },
    inject: (fault: Fault, injectOptions?: InjectOptions) => plan.inject(fault, injectOptions),
    openConnections: service.openConnections,
    close: service.close,
  }
}

/** @throws AwsError where a fault answers instead of the service */
function refuse(faults: readonly Fault[]): void {
  for (const fault of faults) {
    if (fault.kind === "throttle") {
      const message =
        "You have exceeded the rate at which you may call KMS. Reduce the frequency of your calls."
      throw new AwsError("ThrottlingException", message, 400, fault.retryAfterSeconds)
    }
    if (fault.kind === "server-error") {
      throw new AwsError(
        "KMSInternalException",
        "The request was rejected because an internal exception occurred.",
        500,
      )
    }
  }
}

function answer(call: KmsCall): object {
  const run = Object.hasOwn(OPERATIONS, call.operation) ? OPERATIONS[call.operation] : undefined
  if (run === undefined) throw new AwsError("UnknownOperationException", "")
  return run(call)
}

/** The ARN of the key that a call is about, if there is one: for the record of calls and for faults. */
function keyArnOf({ input, region, caller, store }: KmsCall): string {
  const named = input.KeyId ?? input.TargetKeyId ?? input.DestinationKeyId
  try {
    return store.find(named, region, caller.accountId).arn
  } catch {
    return typeof named === "string" ? named : ""
  }
}

function parseInput(body: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    const input: unknown = JSON.parse(Buffer.from(body).toString())
    if (typeof input === "object" && input !== null) return input as Readonly<Record<string, unknown>>
  } catch {
    // told below
  }
  throw invalid("The request is not JSON")
}

const OPERATIONS: Operations = { ...CRYPTO_OPERATIONS, ...KEY_OPERATIONS }
const REGION = "eu-central-1"
const ACCOUNT_ID = "111122223333"
