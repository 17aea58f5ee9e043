import { DecryptCommand, DescribeKeyCommand, EncryptCommand, type KMSClient } from "@aws-sdk/client-kms"
import {
  type Kek,
  type KekCallOptions,
  type KekProvider,
  KeyfoldError,
  type WrapContext,
} from "@keyfold/core"
import { sha256 } from "@keyfold/core/crypto"
import { toFailure } from "./failure.ts"
import { keyFacts } from "./key-facts.ts"
import { type AwsKmsKeyOptions, checkAccess, checkMilliseconds, parseArn, targetsOf } from "./key-options.ts"
import { callInRegions } from "./regional-call.ts"

/** The method of the SDK's client that is used. */
export type AwsKmsClient = Pick<KMSClient, "send">

/** Which client a call needs. */
export type AwsKmsTarget = {
  readonly region: string
  readonly endpoint: string | undefined
  /** The role that the client assumes, with the external id if there is one. */
  readonly roleArn: string | undefined
  readonly externalId: string | undefined
}

export type AwsKmsOptions = {
  /**
   * Where clients come from: `awsKmsClients()`, or your own. Yours should have `maxAttempts: 1`, for the router
   * tries again itself, and a request handler with `throwOnRequestTimeout`.
   */
  readonly clients: { readonly clientFor: (target: AwsKmsTarget) => AwsKmsClient }
  /** How long a region may take before a replica is asked, in milliseconds; 1,500 unless told. */
  readonly failoverAfterMs?: number
}

export interface AwsKmsProvider extends KekProvider<AwsKmsKeyOptions> {
  /**
   * The ARN of the key that an alias, alias ARN or key id stands for today: ask once, and keep the ARN. What is not
   * an ARN needs `options.region`.
   * @throws KeyfoldError `INVALID_ARGUMENT` for options that do not fit, and as a KEK's `describe` does
   */
  resolveKeyId(name: string, options?: AwsKmsKeyOptions, call?: KekCallOptions): Promise<string>
  /**
   * The denials that wrap and unwrap would meet, asked by two dry runs, which use no key material. A hint and no proof:
   * AWS looks at permissions there, and not at the key's state.
   * @throws KeyfoldError what else the calls fail with
   */
  hintDenials(
    keyId: string,
    options: AwsKmsKeyOptions,
    context: WrapContext,
    call: KekCallOptions,
  ): Promise<readonly KeyfoldError[]>
}

/**
 * Customer keys in AWS KMS: symmetric keys, in any account and region. A key id is the ARN of a key, never an alias.
 * @throws KeyfoldError `INVALID_ARGUMENT` for a bad `failoverAfterMs` and, from `kek`, for another form of id or an
 * option that does not fit it
 */
export function awsKms({ clients, failoverAfterMs = 1_500 }: AwsKmsOptions): AwsKmsProvider {
  checkMilliseconds({ failoverAfterMs })
  return {
    id: PROVIDER_ID,
    kek(keyId, options = {}) {
      const targets = targetsOf(keyId, options).map(({ arn, target }) => ({
        arn,
        client: () => clients.clientFor(target),
      }))
      return awsKek(keyId, targets, failoverAfterMs)
    },
    async resolveKeyId(name, options = {}, { signal, onRequest } = {}) {
      checkAccess(options)
      const region = /^arn:aws[a-z-]*:kms:([a-z0-9-]{1,32}):/.exec(name)?.[1] ?? options.region
      if (region === undefined || !/^[\w:/-]{1,2048}$/.test(name)) {
        throw new KeyfoldError(
          "INVALID_ARGUMENT",
          "give an alias or key ARN, or an alias or key id together with options.region",
        )
      }
      const { endpoint, roleArn, externalId } = options
      const client = () => clients.clientFor({ region, endpoint, roleArn, externalId })
      const { KeyMetadata } = await callInRegions([{ arn: name, client }], {
        action: "kms:DescribeKey",
        signal,
        onRequest,
        failoverAfterMs,
        send: (to, arn, abortSignal) => to.send(new DescribeKeyCommand({ KeyId: arn }), { abortSignal }),
      })
      const arn = KeyMetadata?.Arn ?? ""
      if (parseArn(arn) === undefined) throw anotherKey()
      return arn
    },
    async hintDenials(keyId, options, context, { signal, onRequest }) {
      const keys = targetsOf(keyId, options).map(({ arn, target }) => ({
        arn,
        client: () => clients.clientFor(target),
      }))
      const denials: KeyfoldError[] = []
      for (const [action, send] of dryRuns(encryptionContext(context))) {
        await callInRegions(keys.slice(0, 1), {
          ...{ action, signal, onRequest, failoverAfterMs },
          send: (client, arn, abortSignal) => send(client, arn, abortSignal).then(noDryRun, ofDryRun),
        }).catch((error: unknown) => {
          const failure = toFailure(error)
          if (failure.code !== "PERMISSION_DENIED" || failure.action === "sts:AssumeRole") throw failure
          denials.push(failure)
        })
      }
      return denials
    },
  }
}

type DryRun = (client: AwsKmsClient, arn: string, abortSignal: AbortSignal) => Promise<unknown>

function dryRuns(EncryptionContext: Record<string, string>): readonly (readonly [string, DryRun])[] {
  const ask = { EncryptionContext, DryRun: true }
  const Plaintext = new Uint8Array(32) // of any length that a wrap could have
  return [
    [
      "kms:Encrypt",
      (client, arn, abortSignal) =>
        client.send(new EncryptCommand({ ...fixed(arn), ...ask, Plaintext }), { abortSignal }),
    ],
    [
      "kms:Decrypt",
      (client, arn, abortSignal) => {
        const command = new DecryptCommand({
          ...fixed(arn),
          ...ask,
          DryRunModifiers: ["IGNORE_CIPHERTEXT"],
        })
        return client.send(command, { abortSignal })
      },
    ],
  ]
}

function noDryRun(): never {
  throw new KeyfoldError("UNKNOWN", "AWS KMS made a call that was to be a dry run: see its version")
}

/** A dry run always fails; this is how it says that the call would have succeeded. */
function ofDryRun(error: unknown): void {
  if ((error as { readonly name?: unknown } | null)?.name !== "DryRunOperationException") throw error
}

/** A key as one region knows it. */
export type RegionalKey = { readonly arn: string; readonly client: () => AwsKmsClient }

function awsKek(keyId: string, targets: readonly RegionalKey[], failoverAfterMs: number): Kek {
  return {
    providerId: PROVIDER_ID,
    keyId,

    async wrap(secret, context, { signal, onRequest }) {
      const EncryptionContext = encryptionContext(context)
      const blob = await callInRegions(targets, {
        action: "kms:Encrypt",
        signal,
        onRequest,
        failoverAfterMs,
        async send(client, arn, abortSignal) {
          const command = new EncryptCommand({ ...fixed(arn), Plaintext: secret, EncryptionContext })
          const reply = await client.send(command, { abortSignal })
          const blob: unknown = reply.CiphertextBlob
          if (reply.KeyId !== arn || !(blob instanceof Uint8Array)) throw anotherKey()
          return blob
        },
      })
      const wrapped = new Uint8Array(1 + blob.length)
      wrapped[0] = ALGORITHM
      wrapped.set(blob, 1)
      return { keyVersion: 0, leased: false, wrapped }
    },

    async unwrap(record, context, { signal, onRequest }) {
      const { keyVersion, leased, wrapped } = record
      if (
        keyVersion !== 0 ||
        leased ||
        wrapped[0] !== ALGORITHM ||
        wrapped.length < 2 ||
        wrapped.length > MAX_WRAPPED
      ) {
        throw new KeyfoldError("DECRYPTION_FAILED", "not a direct wrap of AWS KMS")
      }
      const CiphertextBlob = wrapped.subarray(1)
      const EncryptionContext = encryptionContext(context)
      return callInRegions(targets, {
        action: "kms:Decrypt",
        signal,
        onRequest,
        failoverAfterMs,
        async send(client, arn, abortSignal) {
          const command = new DecryptCommand({ ...fixed(arn), CiphertextBlob, EncryptionContext })
          const { KeyId, Plaintext } = await client.send(command, { abortSignal })
          if (!(Plaintext instanceof Uint8Array)) throw anotherKey()
          const secret = Uint8Array.from(Plaintext)
          Plaintext.fill(0)
          if (KeyId === arn) return secret
          secret.fill(0)
          throw anotherKey()
        },
      })
    },

    async describe({ signal, onRequest }) {
      return callInRegions(targets.slice(0, 1), {
        action: "kms:DescribeKey",
        signal,
        onRequest,
        failoverAfterMs,
        async send(client, arn, abortSignal) {
          const { KeyMetadata } = await client.send(new DescribeKeyCommand({ KeyId: arn }), { abortSignal })
          if (KeyMetadata?.Arn !== arn) throw anotherKey()
          return keyFacts(KeyMetadata, arn)
        },
      })
    },

    classify: (error) => toFailure(error).code,
  }
}

/** The key is always named, for Decrypt too: without it KMS would use whatever key the ciphertext names. */
function fixed(arn: string) {
  return { KeyId: arn, EncryptionAlgorithm: "SYMMETRIC_DEFAULT" } as const
}

/**
 * The covered pairs as they are, so that the customer sees them in CloudTrail and can pin them in the key policy,
 * and B of docs/format.md.
 * @throws KeyfoldError `INVALID_ARGUMENT` where AWS KMS would refuse them
 */
function encryptionContext({ covered, binding }: WrapContext): Record<string, string> {
  const pairs: [string, string][] = covered.map(({ name, value }) => [name, value])
  pairs.push(["keyfold:binding", Buffer.from(sha256(binding)).toString("base64url")])
  const bytes = pairs.reduce(
    (sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value),
    0,
  )
  if (bytes > MAX_CONTEXT_BYTES || covered.some(({ name }) => name.startsWith("aws:"))) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "AWS KMS takes pairs of at most 4,096 bytes together, keyfold's own included, and no name that begins with aws:",
    )
  }
  return Object.fromEntries(pairs)
}

function anotherKey(): KeyfoldError {
  return new KeyfoldError("UNKNOWN", "AWS KMS answered for another key, and the answer was thrown away", {
    side: "network",
    fix: "look for a proxy that mixes up answers",
  })
}

const PROVIDER_ID = "aws-kms"
/** docs/format.md, "Wrapped bytes": CiphertextBlob of Encrypt with SYMMETRIC_DEFAULT. */
const ALGORITHM = 0x01
/** The algorithm byte and the longest CiphertextBlob that Decrypt takes (AWS KMS API Reference). */
const MAX_WRAPPED = 1 + 6_144
/** AWS KMS takes no longer encryption context. */
const MAX_CONTEXT_BYTES = 4_096
