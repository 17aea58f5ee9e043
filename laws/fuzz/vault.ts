/**
 * What the fuzzer attacks: the router with managed KEKs, the AWS and Google adapters over clients that enforce the key and
 * what is bound to it, and a public-key KEK. Every reply passes a hook, and every secret that leaves a KEK is noted.
 */
import {
  createKeyfold,
  type Kek,
  type KekProvider,
  type KeyContext,
  type Keyfold,
  KeyfoldError,
  type ReadCandidate,
  type RouteEntry,
  type Router,
} from "@keyfold/core"
import { fillRandom, open, sealInto } from "@keyfold/core/crypto"
import { awsKms } from "@keyfold/kek-aws-kms"
import { gcpKms } from "@keyfold/kek-gcp-kms"
import { createManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { addBinding, type Binding, createRouter } from "@keyfold/router"
import { crc32c } from "../../packages/provider-testkit/src/gcp/crc32c.ts"

/** Where a reply comes from: a KEK as the engine calls it, or a cloud's client as its adapter does. */
export type ReplySource = "kek" | "aws" | "gcp"
export type ReplyHook = (from: ReplySource, action: "wrap" | "unwrap", reply: unknown) => unknown

export type Vault = AsyncDisposable & {
  /** Over a fixed list of bindings. */
  readonly keyfold: Keyfold
  /** The same with an observer, and a deadline of 15 ms: for replies that never come. */
  readonly hasty: Keyfold
  /** Over a lookup that gives `found`. */
  readonly lookingUp: Keyfold
  readonly bindings: readonly Binding[]
  found: unknown
  /** Changes replies on their way; undefined lets them through. */
  hook: ReplyHook | undefined
  /** Unwraps and wraps since `beginCase`, by key id. */
  readonly called: string[]
  /** Secrets that went in or out of KEKs and clients since `beginCase`. */
  readonly secrets: Uint8Array[]
  /** Those that KEKs gave. */
  readonly shares: Uint8Array[]
  beginCase(): void
}

/** Every secret and every context value begins so, that it can be found again. */
export const MARKS = {
  kek: "kf-canary-kek",
  root: "kf-canary-root",
  plaintext: "kf-canary-text",
  value: "kf-canary-value",
}

/** The value of the pair `organization_id` of each tenant. */
export const TENANTS = {
  aws: `${MARKS.value}-aws`,
  leased: `${MARKS.value}-leased`,
  gcp: `${MARKS.value}-gcp`,
  azure: `${MARKS.value}-azure`,
  azureLeased: `${MARKS.value}-azure-leased`,
  two: `${MARKS.value}-two`,
}

/** @param subject what is attacked in the place of keyfold, so that the fuzzer itself can be tried */
export async function openVault(subject = (keyfold: Keyfold): Keyfold => keyfold): Promise<Vault> {
  const root = { key: marked(MARKS.root) }
  const managed = await createManagedProvider({ store: memoryStore(), root, environment: "fuzz" })
  const reply: ReplyHook = (from, action, value) =>
    vault.hook === undefined ? value : vault.hook(from, action, value)
  const keys = new Map<string, Uint8Array>()
  const keyOf = (keyId: string) => {
    const key = keys.get(keyId) ?? marked(MARKS.kek)
    keys.set(keyId, key)
    return key
  }
  const aws = awsKms({ clients: { clientFor: () => ({ send: awsSend }) as never } })
  const gcp = gcpKms({ client: gcpClient() as never })
  const azure = publicKeyProvider("azure-keyvault", keyOf)
  const providers = [aws, gcp, azure]

  const bindings: Binding[] = []
  const add = async (id: string, from: KekProvider, keyId: string, match: KeyContext, leaseTtlMs = 0) => {
    const save = (binding: Binding) => {
      const at = bindings.findIndex((each) => each.id === binding.id)
      bindings.splice(at === -1 ? bindings.length : at, at === -1 ? 0 : 1, binding)
    }
    const draft = { id, owner: id.replace(/-.*/, ""), match, leaseTtlMs }
    await addBinding(draft, from.kek(keyId), bindings, { managed, save })
  }
  const arn = (name: string) =>
    `arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-4000-8000-0000000000${name}`
  const organization_id = (tenant: keyof typeof TENANTS) => ({ organization_id: TENANTS[tenant] })
  await add("aws", aws, arn("01"), organization_id("aws"))
  await add("leased", aws, arn("02"), organization_id("leased"), 3_600_000)
  await add("gcp", gcp, "projects/p/locations/global/keyRings/r/cryptoKeys/one", organization_id("gcp"))
  await add("azure", azure, "https://vault.example/keys/one/1", organization_id("azure"))
  await add(
    "azureLeased",
    azure,
    "https://vault.example/keys/two/1",
    organization_id("azureLeased"),
    3_600_000,
  )
  await add("two", aws, arn("03"), organization_id("two"))
  const both = { ...organization_id("two"), data_type: `${MARKS.value}-narrow` }
  await add("two-narrow", gcp, "projects/p/locations/global/keyRings/r/cryptoKeys/narrow", both)

  const spied = new WeakMap<Kek, Kek>()
  const spy = <Entry extends RouteEntry>(entry: Entry): Entry => ({
    ...entry,
    kek: spyKek(entry.kek),
    companion: entry.companion && spyKek(entry.companion),
  })
  const spyRouter = (router: Router): Router => ({
    forWriting: (context, options) => after(router.forWriting(context, options), (list) => list.map(spy)),
    forReading: (context, options) =>
      after(router.forReading(context, options), (list): ReadCandidate[] => list.map(spy)),
  })
  const common = { managed, providers, resilience: false } as const
  const fixed = spyRouter(createRouter({ ...common, bindings }))
  const lookup = createRouter({ ...common, bindings: () => vault.found as Binding[], bindingTtlMs: 0 })
  const vault: Vault = {
    keyfold: subject(createKeyfold({ router: fixed })),
    hasty: createKeyfold({ router: fixed, deadlineMs: 15, onEvent: () => {} }),
    lookingUp: createKeyfold({ router: spyRouter(lookup) }),
    bindings,
    found: bindings,
    hook: undefined,
    called: [],
    secrets: [],
    shares: [],
    beginCase() {
      vault.called.length = 0
      vault.secrets.length = 0
      vault.shares.length = 0
      vault.hook = undefined
      vault.found = bindings
    },
    [Symbol.asyncDispose]: () => managed.close(),
  }
  return vault

  /** One spy for each KEK, so that what the engine keeps for a KEK is kept. */
  function spyKek(kek: Kek): Kek {
    const known = spied.get(kek)
    if (known !== undefined) return known
    const spy: Kek = {
      providerId: kek.providerId,
      keyId: kek.keyId,
      wrap(secret, context, options) {
        vault.called.push(kek.keyId)
        vault.secrets.push(Uint8Array.from(secret))
        return after(kek.wrap(secret, context, options), (record) => reply("kek", "wrap", record)) as never
      },
      unwrap(record, context, options) {
        vault.called.push(kek.keyId)
        return after(kek.unwrap(record, context, options), (secret) => {
          const noted = Uint8Array.from(secret)
          vault.secrets.push(noted)
          vault.shares.push(noted)
          return reply("kek", "unwrap", secret)
        }) as never
      },
      describe: (options) => kek.describe(options),
      classify: (error) => kek.classify(error),
    }
    spied.set(kek, spy)
    return spy
  }

  async function awsSend(command: { input: AwsInput }): Promise<unknown> {
    const { KeyId, Plaintext, CiphertextBlob, EncryptionContext } = command.input
    if (EncryptionContext === undefined) return { KeyMetadata: awsMetadata(KeyId) }
    const aad = Buffer.from(JSON.stringify(Object.entries(EncryptionContext).sort()))
    if (Plaintext !== undefined) {
      return reply("aws", "wrap", { KeyId, CiphertextBlob: seal(keyOf(KeyId), aad, Plaintext) })
    }
    const secret = unseal(keyOf(KeyId), aad, CiphertextBlob as Uint8Array)
    if (secret === undefined) throw Object.assign(new Error(), { name: "InvalidCiphertextException" })
    vault.secrets.push(Uint8Array.from(secret))
    return reply("aws", "unwrap", { KeyId, Plaintext: secret })
  }

  function gcpClient() {
    const crc = (bytes: Uint8Array) => ({ value: crc32c(bytes) })
    return {
      initialize: async () => ({}),
      async encrypt({ name, plaintext, additionalAuthenticatedData: aad }: GcpInput) {
        const ciphertext = seal(keyOf(name), aad, plaintext)
        const answer = {
          name: `${name}/cryptoKeyVersions/1`,
          ciphertext,
          ciphertextCrc32c: crc(ciphertext),
          verifiedPlaintextCrc32c: true,
          verifiedAdditionalAuthenticatedDataCrc32c: true,
        }
        return [reply("gcp", "wrap", answer)]
      },
      async decrypt({ name, ciphertext, additionalAuthenticatedData: aad }: GcpInput) {
        const plaintext = unseal(keyOf(name), aad, ciphertext)
        if (plaintext === undefined) throw Object.assign(new Error("Decryption failed"), { code: 3 })
        vault.secrets.push(Uint8Array.from(plaintext))
        return [reply("gcp", "unwrap", { plaintext, plaintextCrc32c: crc(plaintext), usedPrimary: true })]
      },
      getCryptoKey: async ({ name }: GcpInput) => [
        {
          name,
          purpose: "ENCRYPT_DECRYPT",
          versionTemplate: { algorithm: "GOOGLE_SYMMETRIC_ENCRYPTION", protectionLevel: "HSM" },
          primary: { name: `${name}/cryptoKeyVersions/1`, state: "ENABLED" },
        },
      ],
    }
  }
}

type AwsInput = {
  readonly KeyId: string
  readonly Plaintext?: Uint8Array
  readonly CiphertextBlob?: Uint8Array
  readonly EncryptionContext?: Readonly<Record<string, string>>
}
type GcpInput = {
  readonly name: string
  readonly plaintext: Uint8Array
  readonly ciphertext: Uint8Array
  readonly additionalAuthenticatedData: Uint8Array
}

function awsMetadata(arn: string) {
  return {
    Arn: arn,
    KeyId: arn.replace(/.*\//, ""),
    KeyState: "Enabled",
    KeySpec: "SYMMETRIC_DEFAULT",
    KeyUsage: "ENCRYPT_DECRYPT",
    EncryptionAlgorithms: ["SYMMETRIC_DEFAULT"],
    Origin: "AWS_KMS",
  }
}

/** KEKs that tell they have a public half, so that each gets a managed companion. */
function publicKeyProvider(id: string, keyOf: (keyId: string) => Uint8Array): KekProvider {
  return {
    id,
    kek: (keyId): Kek => ({
      providerId: id,
      keyId,
      wrap: async (secret, { binding }) => ({
        keyVersion: 0,
        leased: false,
        wrapped: seal(keyOf(keyId), binding, secret),
      }),
      unwrap: async ({ wrapped, leased, keyVersion }, { binding }) => {
        const secret = leased || keyVersion !== 0 ? undefined : unseal(keyOf(keyId), binding, wrapped)
        if (secret === undefined) throw new KeyfoldError("DECRYPTION_FAILED", "not its wrap")
        return secret
      },
      describe: async () => ({ publicKey: true }) as never,
      classify: () => "UNKNOWN",
    }),
  }
}

function seal(key: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const out = new Uint8Array(12 + plaintext.length + 16)
  fillRandom(out.subarray(0, 12))
  sealInto(key, out.subarray(0, 12), aad, plaintext, out, 12)
  return out
}

function unseal(key: Uint8Array, aad: Uint8Array, sealed: Uint8Array): Uint8Array | undefined {
  return sealed.length < 28 ? undefined : open(key, sealed.subarray(0, 12), aad, sealed.subarray(12))
}

/** 32 bytes that begin with a mark. */
function marked(mark: string): Uint8Array {
  const bytes = new Uint8Array(32)
  fillRandom(bytes)
  bytes.set(Buffer.from(mark))
  return bytes
}

function after<T, R>(value: T | Promise<T>, next: (value: T) => R): R | Promise<R> {
  return value instanceof Promise ? value.then(next) : next(value)
}
