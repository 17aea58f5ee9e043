import type { Report } from "@keyfold/byok"
import { type FailureCode, type Kek, type KekFacts, type KeyContext, KeyfoldError } from "@keyfold/core"
import { type BindingsAtHand, changeBindings, factsOf, matchText } from "../bindings.ts"
import { readBindings } from "../bindings-file.ts"
import { cmkProvider } from "../byok-subject.ts"
import { type Cloud, type CloudId, type CloudOptions, createClouds } from "../clouds.ts"
import { contextOf } from "../context.ts"
import { printable } from "../failure.ts"
import { existingHome, type HomeOptions } from "../home.ts"
import { cloudOptionsOf, type KeyOptions } from "../key-options.ts"

type Options = HomeOptions &
  KeyOptions & {
    match: string[]
    provider: CloudId
    keyId: string
    owner?: string
    leaseTtl?: string
    replace?: true
    json?: true
  }

/**
 * The key is validated first, without the lock: a KMS can be slow. Then the binding is kept as verified before
 * anything changes in the KEK store, so that one that was cut off is seen, completed by the same command, or removed.
 */
export async function add(options: Options): Promise<void> {
  const match = contextOf(options.match, "--match")
  const leaseTtlMs = leaseTtlOf(options.leaseTtl)
  const cloudOptions = cloudOptionsOf(options)
  existingHome(options)
  const clouds = createClouds()
  try {
    const cloud = await clouds.cloud(options.provider)
    const key = await askKey(cloud, options, cloudOptions)
    const owner = await ownerFor(match, options)
    const report = await validated(cloud, { ...key, owner, match })
    const wanted: Wanted = { ...options, ...key, owner, match, leaseTtlMs, report }
    const bound = await changeBindings(options, (atHand) => bind(wanted, atHand))
    if (options.json) console.log(JSON.stringify(factsOf(bound)))
    else {
      console.log(
        `Bound ${matchText(match)} to the ${bound.provider} key ${bound.keyId} of ${printable(bound.owner)}.\n` +
          "What was encrypted before still opens without that key, until keyfold rewrap moves it.",
      )
    }
  } finally {
    await clouds.close()
  }
}

type AskedKey = { readonly kek: Kek; readonly options: CloudOptions }
type Wanted = AskedKey &
  Pick<Options, "replace"> & {
    owner: string
    match: KeyContext
    leaseTtlMs: number | undefined
    report: Report
  }

async function bind(wanted: Wanted, { bindings, change }: BindingsAtHand) {
  const { bindingFor, bindValidated } = await import("@keyfold/byok")
  const { match, kek, replace } = wanted
  const former = bindingFor(match, bindings)
  const isSameKey = former?.provider === kek.providerId && former.keyId === kek.keyId
  const isUsed = former?.state === "active" || former?.state === "disabled"
  if (isUsed && !isSameKey && !replace) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `the binding ${former.id} has this match and another key: --replace moves it to this one`,
    )
  }
  return bindValidated(wanted, bindings, change)
}

/** Whose key it is: who is named, or the owner that a binding of this match has had, or the match itself. */
async function ownerFor(match: KeyContext, options: Options): Promise<string> {
  if (options.owner !== undefined) return options.owner
  const { bindingFor, ownerOf } = await import("@keyfold/byok")
  const bindings = await readBindings(existingHome(options))
  return bindingFor(match, bindings)?.owner ?? ownerOf(match)
}

/** Uses the key once as keyfold will. @throws KeyfoldError with the first of what is wrong */
async function validated(
  cloud: Cloud,
  { kek, ...binding }: AskedKey & { readonly owner: string; readonly match: KeyContext },
): Promise<Report> {
  const { validateCmk, worstCheck } = await import("@keyfold/byok")
  const { providerId, keyId } = kek
  const report = await validateCmk(cmkProvider(providerId as CloudId, cloud), { ...binding, keyId })
  const worst = worstCheck(report)
  if (worst === undefined) return report
  const message = `the ${providerId} key ${keyId} cannot be bound: ${worst.message}; keyfold byok validate shows all`
  throw new KeyfoldError(worst.code ?? "UNKNOWN", message, { providerId, keyId })
}

/** Asks the KMS whether the key is there and can be used. The KEK it gives knows the answer. */
async function askKey(
  cloud: Cloud,
  { provider, keyId: name }: Options,
  options: CloudOptions,
): Promise<AskedKey> {
  try {
    const keyId = await cloud.resolveKeyId(name, options)
    const facts = await cloud.kek(keyId, options).describe({})
    checkState(facts)
    const fitting = { ...options, ...algorithmFor(provider, facts, options) }
    return { kek: { ...cloud.kek(keyId, fitting), describe: async () => facts }, options: fitting }
  } catch (error) {
    if (!(error instanceof KeyfoldError) || error.code === "INVALID_ARGUMENT") throw error
    const message = `the ${provider} key ${name} cannot be bound: ${error.message}`
    throw new KeyfoldError(error.code, message, { providerId: provider, keyId: name, cause: error })
  }
}

/** @throws KeyfoldError for a key under which nothing could be encrypted now */
function checkState({ state }: KekFacts): void {
  const code = UNUSABLE[state]
  if (code === undefined) return
  throw new KeyfoldError(
    code,
    `it is ${state.replaceAll("-", " ")}: make it usable, and add the binding then`,
  )
}

/** keyfold wraps under symmetric keys, and under Azure's RSA keys. */
function algorithmFor(provider: CloudId, facts: KekFacts, { algorithm }: CloudOptions): CloudOptions {
  if (provider !== "azure-keyvault") {
    if (!facts.publicKey) return {}
    throw new KeyfoldError("INVALID_ARGUMENT", `a ${provider} key must be symmetric, not ${facts.algorithm}`)
  }
  if (algorithm === undefined) return facts.publicKey ? {} : { algorithm: "A256GCM" }
  if (facts.publicKey === (algorithm === "RSA-OAEP-256")) return {}
  throw new KeyfoldError("INVALID_ARGUMENT", `--algorithm ${algorithm} is none of this key`)
}

function leaseTtlOf(seconds: string | undefined): number | undefined {
  if (seconds === undefined) return undefined
  const ms = /^\d{1,5}$/.test(seconds) ? Number(seconds) * 1000 : Number.NaN
  if (ms <= MAX_LEASE_TTL_MS) return ms
  throw new KeyfoldError("INVALID_ARGUMENT", "--lease-ttl is a whole number of seconds from 0 to 3600")
}

const UNUSABLE: Readonly<Partial<Record<KekFacts["state"], FailureCode>>> = {
  disabled: "KEY_DISABLED",
  expired: "KEY_DISABLED",
  "not-yet-valid": "KEY_DISABLED",
  "pending-import": "KEY_DISABLED",
  "pending-deletion": "KEY_PENDING_DELETION",
  destroyed: "KEY_NOT_FOUND",
  unavailable: "UNAVAILABLE",
}
/** design.md, "Lease": at most an hour. */
const MAX_LEASE_TTL_MS = 3_600_000
