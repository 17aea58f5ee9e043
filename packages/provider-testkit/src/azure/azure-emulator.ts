import { randomUUID } from "node:crypto"
import {
  type Fault,
  FaultPlan,
  type InjectOptions,
  type KmsEmulator,
  type RecordedCall,
} from "../emulator.ts"
import { damage, type HttpCall, type HttpReply, startHttpService, transportFaults } from "../http-service.ts"
import { Access, type AzureAccessLayer, type AzurePermission, forbiddenByRbac, keyOf } from "./access.ts"
import { AzureError, badParameter, errorReply, jsonReply } from "./azure-error.ts"
import { createServerCertificate } from "./certificate.ts"
import { answerOf, runCrypto } from "./crypto-operations.ts"
import { type KeyCall, readKeyCall, requestedId } from "./key-call.ts"
import {
  type AzureKeyType,
  type AzureService,
  type CreateKeyOptions,
  KeyStore,
  type KeyVersion,
  nowSeconds,
} from "./key-store.ts"
import { keyBundle, MANAGEMENT_OPERATIONS, rotate } from "./management-operations.ts"
import { type CryptoOperation, checkState } from "./state-table.ts"
import { type AzureClient, oauthError, TokenEndpoint, type TokenOperation } from "./token-endpoint.ts"

/**
 * A local Azure Key Vault, Managed HSM and token endpoint behind one HTTPS port, which the unmodified Azure SDKs talk
 * to. Key ids in its methods are those of a version, `https://HOST/keys/NAME/VERSION`.
 */
export interface AzureEmulator extends KmsEmulator {
  /** Of the vault. */
  readonly url: string
  /** Of the Managed HSM, under another name of this machine. */
  readonly hsmUrl: string
  /** Who may do everything there, as `ClientSecretCredential` takes it. Other tenants issue tokens to it as well. */
  readonly client: AzureClient
  /** PEM of the authority that issued its certificate; clients must trust it. */
  readonly caCertificate: string
  /** The host of each service, and the resource that tokens for it are issued for. */
  readonly hosts: Readonly<Record<string, string>>
  /** Options for `new ClientSecretCredential(…)`. */
  credentialOptions(): AzureCredentialOptions
  /** Options for `new KeyClient(…)` and `new CryptographyClient(…)`. */
  clientOptions(): AzureClientOptions
  /** Makes an enabled key, or a new version of one: RSA in the vault, or symmetric (`oct-HSM`) in the HSM. Gives its id. */
  createKey(options?: AzureKeyOptions): string
  /** Makes a new version of a key. Gives its id; the former one stays usable. */
  rotate(keyId: string): string
  /** Puts a key into a state, as time or an operator would; the last two concern all its versions. */
  setState(keyId: string, state: AzureKeyState): void
  /** Takes a permission away in one permission model, for one key or for all. */
  deny(layer: AzureAccessLayer, permission: AzurePermission, keyId?: string): void
  allow(layer: AzureAccessLayer, permission: AzurePermission, keyId?: string): void
  /** Closed, it refuses every caller. */
  setFirewall(state: "open" | "closed"): void
}

export type AzureKeyState = "enabled" | "disabled" | "expired" | "not-yet-valid" | "deleted" | "purged"

export type AzureKeyOptions = {
  /** Which of the two services; the vault unless told. */
  readonly service?: AzureService["kind"]
  /** A name of its own unless told. */
  readonly name?: string
  /** `RSA` in the vault and `oct-HSM` in the HSM unless told. */
  readonly kty?: AzureKeyType
  /** Bits of an RSA key: 2,048, the default, 3,072 or 4,096. */
  readonly bits?: number
  readonly keyOps?: readonly string[]
}

export type AzureCredentialOptions = {
  readonly authorityHost: string
  readonly disableInstanceDiscovery: true
  readonly tlsOptions: { readonly ca: string }
}

export type AzureClientOptions = {
  readonly disableChallengeResourceVerification: true
  readonly tlsOptions: { readonly ca: string }
}

export type AzureEmulatorOptions = {
  /** Any free one unless told. */
  readonly port?: number
  /**
   * Documents say that a disabled key does nothing; azure-sdk-for-python#45342 saw one encrypt and wrap. Off unless
   * told.
   */
  readonly disabledKeysWrap?: boolean
  /** Whether deleted keys stay until their date, whoever wants them gone. Off unless told. */
  readonly purgeProtection?: boolean
}

/** Starts an emulator on 127.0.0.1. Its keys live as long as it does. */
export async function startAzureEmulator({
  port = 0,
  disabledKeysWrap = false,
  purgeProtection = false,
}: AzureEmulatorOptions = {}): Promise<AzureEmulator> {
  const certificate = await createServerCertificate()
  const tokens = new TokenEndpoint()
  const access = new Access()
  const plan = new FaultPlan()
  const calls: RecordedCall[] = []
  const decoys = new Map<AzureKeyType, KeyVersion>()

  async function serve(call: HttpCall): Promise<HttpReply> {
    try {
      const operation = tokens.operationOf(call)
      return operation === undefined ? await serveKeys(call) : await serveToken(operation, call)
    } catch (error) {
      if (error instanceof AzureError) return errorReply(error)
      throw error
    }
  }

  function serveToken(operation: TokenOperation, call: HttpCall): Promise<HttpReply> {
    return record(operation, "", async () => {
      const faults = plan.take(operation, "")
      await transportFaults(faults, call)
      refuse(faults)
      return damage(faults, tokens.answer(operation, call))
    }).catch((error: unknown) => {
      if (error instanceof AzureError) return oauthError(error)
      throw error
    })
  }

  async function serveKeys(call: HttpCall): Promise<HttpReply> {
    const store = stores.find(({ service }) => service.url === `https://${call.headers.host}`)
    const keyCall = store && readKeyCall(call, store)
    if (keyCall === undefined) throw notFound()
    const keyId = knownId(keyCall)
    return record(keyCall.operation, keyId, async () => {
      // Before any fault, so that a client that asks for the challenge first meets the faults planned for its call.
      const caller = tokens.authenticate(call, keyCall.store.service.resource)
      const faults = plan.take(keyCall.operation, keyId)
      await transportFaults(faults, call)
      refuse(faults)
      const { permission, name } = keyCall
      const isFault = (kind: Fault["kind"]) => faults.some((fault) => fault.kind === kind)
      if (isFault("deny")) throw forbiddenByRbac(caller, permission, keyCall.store.service, name)
      access.check(caller, permission, keyCall.store.service, name)
      return damage(faults, answer(keyCall, parseInput(call.body), isFault("other-key")))
    })
  }

  function answer(
    call: KeyCall,
    input: Readonly<Record<string, unknown>>,
    isForAnotherKey: boolean,
  ): HttpReply {
    const { operation, store, name } = call
    const version = isForAnotherKey ? decoyFor(call) : undefined
    if (isCrypto(operation)) {
      if (version !== undefined) return jsonReply(200, answerOf(operation, version, input))
      const asked = store.findVersion(name, call.version)
      checkState(operation, asked, disabledKeysWrap)
      return jsonReply(200, runCrypto(operation, asked, input))
    }
    if (version !== undefined) return jsonReply(200, keyBundle(version))
    return MANAGEMENT_OPERATIONS[operation](call, input)
  }

  /** Another key of the same type, for it must be able to do what was asked. */
  function decoyFor({ store, name, version }: KeyCall): KeyVersion {
    const { kty } = store.findVersion(name, version)
    const decoy = decoys.get(kty) ?? store.create(`decoy-${randomUUID()}`, { kty })
    decoys.set(kty, decoy)
    return decoy
  }

  async function record(
    operation: string,
    keyId: string,
    serveCall: () => Promise<HttpReply>,
  ): Promise<HttpReply> {
    const at = Date.now()
    try {
      const reply = await serveCall()
      calls.push({ operation, keyId, at, ok: reply.status < 400 })
      return reply
    } catch (error) {
      const name = error instanceof AzureError ? error.name : "ConnectionLost"
      calls.push({ operation, keyId, at, ok: false, error: name })
      throw error
    }
  }

  const service = await startHttpService({
    port,
    tls: certificate,
    answer: async (call) => {
      const reply = await serve(call)
      return { ...reply, headers: { ...reply.headers, "x-ms-request-id": randomUUID() } }
    },
  })
  const vault: AzureService = {
    kind: "vault",
    name: "keyfold-vault",
    url: `https://127.0.0.1:${service.port}`,
    resource: "https://vault.azure.net",
    purgeProtection,
  }
  const hsm: AzureService = {
    kind: "hsm",
    name: "keyfold-hsm",
    url: `https://localhost:${service.port}`,
    resource: "https://managedhsm.azure.net",
    purgeProtection,
  }
  const stores = [new KeyStore(vault), new KeyStore(hsm)]

  function storeAt(keyId: string): { store: KeyStore; name: string; version: string } {
    const { origin, pathname } = new URL(keyId)
    const [, , name = "", version = ""] = pathname.split("/")
    const store = stores.find((each) => each.service.url === origin)
    if (store === undefined) throw new RangeError(`${keyId} is not a key of this emulator`)
    return { store, name, version }
  }

  const keyPart = (keyId: string | undefined) => {
    if (keyId === undefined) return undefined
    const { store, name } = storeAt(keyId)
    return keyOf(store.service, name)
  }
  const tlsOptions = { ca: certificate.ca }

  return {
    url: vault.url,
    hsmUrl: hsm.url,
    client: tokens.client,
    caCertificate: certificate.ca,
    hosts: Object.fromEntries([vault, hsm].map(({ url, resource }) => [new URL(url).host, resource])),
    calls,
    credentialOptions: () => ({ authorityHost: vault.url, disableInstanceDiscovery: true, tlsOptions }),
    clientOptions: () => ({ disableChallengeResourceVerification: true, tlsOptions }),
    createKey({ service: kind = "vault", name = `key-${randomUUID()}`, ...options } = {}) {
      const store = stores.find((each) => each.service.kind === kind) as KeyStore
      const defaults: CreateKeyOptions = { kty: kind === "hsm" ? "oct-HSM" : "RSA" }
      return store.create(name, { ...defaults, ...options }).kid
    },
    rotate(keyId) {
      const { store, name } = storeAt(keyId)
      return rotate(store, name).kid
    },
    setState(keyId, state) {
      const { store, name, version } = storeAt(keyId)
      if (state === "deleted") store.find(name).deletedAt = nowSeconds()
      else if (state === "purged") store.purge(name)
      else {
        const isDeleted = store.listDeleted().some((key) => key.name === name)
        if (isDeleted) store.findDeleted(name).deletedAt = undefined
        store.findVersion(name, version).attributes = attributesFor(state)
      }
    },
    deny: (layer, permission, keyId) => access.withhold(layer, permission, keyPart(keyId)),
    allow: (layer, permission, keyId) => access.restore(layer, permission, keyPart(keyId)),
    setFirewall(state) {
      access.firewall = state
    },
    inject: (fault: Fault, options?: InjectOptions) => plan.inject(fault, options),
    openConnections: service.openConnections,
    close: service.close,
  }
}

function attributesFor(state: Exclude<AzureKeyState, "deleted" | "purged">) {
  const now = nowSeconds()
  if (state === "expired") return { enabled: true, exp: now - DAY_SECONDS }
  if (state === "not-yet-valid") return { enabled: true, nbf: now + DAY_SECONDS }
  return { enabled: state === "enabled" }
}

/** @throws AzureError where a fault answers instead of the service */
function refuse(faults: readonly Fault[]): void {
  for (const fault of faults) {
    if (fault.kind === "throttle") {
      const { retryAfterSeconds } = fault
      const headers = retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }
      const message =
        "Request was not processed because too many requests were received. Reason: VaultRequestTypeLimitReached"
      throw new AzureError(429, "Throttled", message, undefined, headers)
    }
    if (fault.kind === "server-error") {
      throw new AzureError(500, "InternalServerError", "An unexpected error occurred.")
    }
  }
}

/** The key that a call is about, with its version, if there is one: for the record of calls and for faults. */
function knownId(call: KeyCall): string {
  try {
    return call.store.findVersion(call.name, call.version).kid
  } catch {
    return requestedId(call)
  }
}

function isCrypto(operation: KeyCall["operation"]): operation is CryptoOperation {
  return ["encrypt", "decrypt", "wrapKey", "unwrapKey"].includes(operation)
}

function parseInput(body: Uint8Array): Readonly<Record<string, unknown>> {
  if (body.length === 0) return {}
  try {
    const input: unknown = JSON.parse(Buffer.from(body).toString())
    if (typeof input === "object" && input !== null) return input as Readonly<Record<string, unknown>>
  } catch {
    // told below
  }
  throw badParameter("The request body is not JSON.")
}

function notFound(): AzureError {
  return new AzureError(404, "NotFound", "The request URI is not one of this service.")
}

const DAY_SECONDS = 86_400
