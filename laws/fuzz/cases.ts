/** One case of the fuzzer: what it tries, and what may never happen. */
import { type KeyContext, type Keyfold, KeyfoldError, parseContext } from "@keyfold/core"
import { type Binding, parseBinding } from "@keyfold/router"
import type { Chance } from "./chance.ts"
import { mutateEnvelope } from "./envelope-mutator.ts"
import { openSample, type Sample } from "./samples.ts"
import { junk, mutateBinding, mutateContext, mutateReply } from "./value-mutators.ts"
import type { Vault } from "./vault.ts"

/** What the fuzzer looks for. `hung` and `memory` are found by who runs the cases. */
export type FindingKind = "accepted" | "untyped" | "leaked"

/** What became of one case. */
export type CaseLog = {
  /** What was done, for a report. */
  readonly steps: string[]
  readonly errors: unknown[]
  readonly findings: { readonly kind: FindingKind; readonly what: string }[]
}

/** The overloads of keyfold's methods keep the form; here either form goes in. */
const asBytes = (envelope: Uint8Array | string) => envelope as Uint8Array

export type Target = {
  readonly vault: Vault
  readonly samples: readonly Sample[]
}

export async function runCase(target: Target, chance: Chance, log: CaseLog): Promise<void> {
  target.vault.beginCase()
  const choice = chance.below(100)
  if (choice < 62) return envelopeCase(target, chance, log)
  if (choice < 74) return contextCase(target, chance, log)
  if (choice < 82) return bindingCase(target, chance, log)
  if (choice < 85) return argumentCase(target, chance, log)
  return replyCase(target, chance, log)
}

/** Runs what must be refused; whatever it gives instead is a finding. */
async function refused<T>(
  log: CaseLog,
  what: string,
  call: () => Promise<T> | T,
  isRight: (value: T) => boolean = () => false,
): Promise<KeyfoldError | undefined> {
  log.steps.push(what)
  try {
    const value = await call()
    if (!isRight(value)) log.findings.push({ kind: "accepted", what })
    return undefined
  } catch (error) {
    return noteError(log, what, error)
  }
}

function noteError(log: CaseLog, what: string, error: unknown): KeyfoldError | undefined {
  log.errors.push(error)
  if (error instanceof KeyfoldError) return error
  log.findings.push({ kind: "untyped", what: `${what}: ${describe(error)}` })
  return undefined
}

function describe(error: unknown): string {
  try {
    return error instanceof Error ? String(error.stack) : String(error)
  } catch {
    return "what cannot be shown"
  }
}

async function envelopeCase(target: Target, chance: Chance, log: CaseLog): Promise<void> {
  const { vault, samples } = target
  const sample = chance.pick(samples)
  const { envelope, what } = mutateEnvelope(chance, sample, samples)
  const bytes = typeof envelope === "string" ? undefined : envelope
  log.steps.push(`sample ${sample.name}`, ...what)
  log.steps.push(`envelope ${bytes === undefined ? envelope : Buffer.from(bytes).toString("hex")}`)
  // A change can make another sample of this very context and additional data: that one opens, and rightly.
  const twin = samples.find((each) => bytes !== undefined && same(each.bytes, bytes))
  if (twin !== undefined) return
  const { context, aad, kind } = sample
  const options = { context, ...(aad && { aad }) }
  const { keyfold } = vault
  const failure = await openMutant(target, sample, envelope, options, chance, log)
  const early = failure?.code === "MALFORMED_ENVELOPE" || failure?.code === "UNSUPPORTED_VERSION"
  if (early && vault.called.length > 0) {
    log.findings.push({ kind: "accepted", what: "a KEK was called for an envelope that does not parse" })
  }
  if (chance.oneIn(4)) {
    // Never authentic, so that it may tell anything, but only so.
    try {
      keyfold.inspect(envelope)
    } catch (error) {
      noteError(log, "inspect", error)
    }
  }
  if (chance.oneIn(16) && kind === "message") {
    const other = { ...context, organization_id: "another" }
    await refused(log, "decrypt under another context", () =>
      keyfold.decrypt(envelope, { ...options, context: other }),
    )
  }
}

async function openMutant(
  { vault, samples }: Target,
  sample: Sample,
  envelope: Uint8Array | string,
  options: { context: KeyContext; aad?: Uint8Array },
  chance: Chance,
  log: CaseLog,
): Promise<KeyfoldError | undefined> {
  const { keyfold } = vault
  const { kind, plaintext } = sample
  const { context } = options
  const bytes = typeof envelope === "string" ? undefined : envelope
  const raw = bytes ?? Buffer.from(envelope as string, "base64url")
  switch (chance.below(16)) {
    case 0:
    case 1:
      return rewrapMutant(keyfold, sample, envelope, raw, samples, log)
    case 2:
      return refused(log, "reencrypt", () => keyfold.reencrypt(asBytes(envelope), options))
    case 3:
      return refused(log, "decrypt by authorize", () =>
        keyfold.decrypt(envelope, { ...(options.aad && { aad: options.aad }), authorize: () => true }),
      )
    case 4: {
      const [item] = await keyfold.decryptMany([{ envelope, ...options }])
      if (item?.ok === false) return noteError(log, "decryptMany", item.error)
      log.findings.push({ kind: "accepted", what: "decryptMany" })
      return undefined
    }
    case 5: {
      if (bytes === undefined) break
      const start = chance.below(plaintext.length + 2)
      const end = chance.oneIn(2) ? undefined : start + chance.below(plaintext.length + 2)
      return refused(
        log,
        `decryptRange ${start} ${end}`,
        () => keyfold.decryptRange(bytes, start, end, options),
        // A change behind the segments that were read is not seen, but what is given is right at its place.
        (found) =>
          kind === "message" &&
          keepsHeader(raw, sample) &&
          Buffer.from(found.plaintext).equals(plaintext.subarray(start, end)),
      )
    }
    case 6:
      if (bytes === undefined) break
      return streamMutant(keyfold, sample, bytes, options, chance, log)
    case 7:
      return kind === "data-key"
        ? refused(log, "decrypt", () => keyfold.decrypt(envelope, options))
        : refused(log, "decryptDataKey", () => keyfold.decryptDataKey(envelope, { context }))
    case 8:
      if (kind !== "data-key") break
      return refused(log, "rekeyDataKey", () =>
        keyfold.rekeyDataKey(asBytes(envelope), { context, newContext: context }),
      )
  }
  return refused(log, "open", () => openSample(vault, sample, envelope))
}

/** A rewrap copies the payload as it is, so that any true header passes; what it gives must be refused then. */
async function rewrapMutant(
  keyfold: Keyfold,
  { context, aad, kind }: Sample,
  envelope: Uint8Array | string,
  raw: Uint8Array,
  samples: readonly Sample[],
  log: CaseLog,
): Promise<KeyfoldError | undefined> {
  const isTrue = samples.some((each) => keepsHeader(raw, each))
  let moved: Uint8Array | string | undefined
  const failure = await refused(
    log,
    "rewrap",
    async () => {
      moved = await keyfold.rewrap(asBytes(envelope), { context })
    },
    () => isTrue,
  )
  if (moved === undefined) return failure
  const given = moved
  if (kind === "data-key") {
    return refused(log, "open what was rewrapped", () => keyfold.decryptDataKey(given, { context }))
  }
  return refused(log, "open what was rewrapped", () =>
    keyfold.decrypt(given, { context, ...(aad && { aad }) }),
  )
}

/** Whether the header, MAC included, is the sample's own; what follows is not. */
function keepsHeader(bytes: Uint8Array, { bytes: original }: Sample): boolean {
  const length = new DataView(original.buffer, original.byteOffset).getUint32(25)
  return same(bytes.subarray(0, length), original.subarray(0, length))
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}

async function streamMutant(
  keyfold: Keyfold,
  sample: Sample,
  bytes: Uint8Array,
  options: { context: KeyContext; aad?: Uint8Array },
  chance: Chance,
  log: CaseLog,
): Promise<KeyfoldError | undefined> {
  const cut = 1 + chance.below(bytes.length + 1)
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < bytes.length; at += cut) controller.enqueue(bytes.slice(at, at + cut))
      controller.close()
    },
  })
  let released = Buffer.alloc(0)
  const failure = await refused(log, "decryptStream", async () => {
    const { plaintext } = await keyfold.decryptStream(source, options)
    for await (const chunk of plaintext) released = Buffer.concat([released, chunk])
  })
  if (!released.equals(sample.plaintext.subarray(0, released.length))) {
    log.findings.push({ kind: "accepted", what: "a stream gave out what is no prefix of the plaintext" })
  }
  return failure
}

async function contextCase({ vault, samples }: Target, chance: Chance, log: CaseLog): Promise<void> {
  const sample = chance.pick(samples)
  const { context, rule, what } = mutateContext(chance, sample.context)
  log.steps.push(`sample ${sample.name}`, what)
  const isSame = rule === "valid" && sameEntries(context as KeyContext, sample.context)
  const parse = () => parseContext(context as KeyContext)
  if (rule === "invalid") await refused(log, "parseContext", parse)
  else {
    try {
      const parsed = parse()
      const again = parseContext(parsed.object)
      if (!Buffer.from(again.canonical).equals(parsed.canonical)) {
        log.findings.push({ kind: "accepted", what: "a context that does not parse to itself" })
      }
    } catch (error) {
      noteError(log, "parseContext", error)
      if (rule === "valid") log.findings.push({ kind: "accepted", what: "a right context was refused" })
    }
  }
  if (isSame) return
  const options = { context: context as KeyContext, ...(sample.aad && { aad: sample.aad }) }
  if (sample.kind === "data-key") {
    await refused(log, "decryptDataKey", () => vault.keyfold.decryptDataKey(sample.bytes, options))
  } else {
    await refused(log, "decrypt", () => vault.keyfold.decrypt(sample.bytes, options))
  }
}

function sameEntries(a: KeyContext, b: KeyContext): boolean {
  const names = Object.keys(a)
  return (
    names.length === Object.keys(b).length &&
    names.every((name) => Object.hasOwn(b, name) && a[name] === b[name])
  )
}

/** A binding out of a database that was damaged, or written by somebody else. */
async function bindingCase({ vault, samples }: Target, chance: Chance, log: CaseLog): Promise<void> {
  const original = chance.pick(vault.bindings)
  const mutated = mutateBinding(chance, original, vault.bindings)
  log.steps.push(`binding ${original.id}`, mutated.what)
  vault.found = mutated.found
  const parsed = parsedBindings(mutated.found)
  const owned = samples.filter(({ context, policy }) => policy === "all" && contains(context, original.match))
  const sample = owned.length === 0 ? undefined : chance.pick(owned)
  const context = sample?.context ?? original.match
  const routing = parsed?.filter(
    ({ state, match }) => (state === "active" || state === "disabled") && contains(context, match),
  )
  const { lookingUp } = vault
  try {
    log.steps.push("encrypt")
    const envelope = await lookingUp.encrypt("kf-canary-text", { context })
    const { wraps } = lookingUp.inspect(envelope)
    const keyIds = wraps.map(({ keyId }) => keyId)
    if (parsed === undefined)
      log.findings.push({ kind: "accepted", what: "encrypt over bindings that do not parse" })
    for (const binding of routing ?? []) {
      const displaced = routing?.some(
        (other) =>
          Object.keys(other.match).length > Object.keys(binding.match).length &&
          contains(other.match, binding.match),
      )
      if (binding.state === "disabled" && !displaced) {
        log.findings.push({ kind: "accepted", what: "encrypt under a disabled binding" })
      } else if (!displaced && !keyIds.includes(binding.keyId)) {
        log.findings.push({ kind: "accepted", what: "another key in the place of a binding's" })
      }
    }
  } catch (error) {
    noteError(log, "encrypt", error)
  }
  if (sample === undefined) return
  vault.called.length = 0
  const entries = parsed?.flatMap((binding) => [binding, ...binding.history]) ?? []
  // Of whom a key is, only leased wraps are bound to.
  const named = entries.some(
    ({ provider, keyId, owner }) =>
      provider === original.provider &&
      keyId === original.keyId &&
      (owner === original.owner || original.leaseTtlMs === 0),
  )
  await refused(
    log,
    "open",
    async () => {
      const { bytes, context, aad, kind } = sample
      if (kind === "data-key") return (await lookingUp.decryptDataKey(bytes, { context })).key
      return (await lookingUp.decrypt(bytes, { context, ...(aad && { aad }) })).plaintext
    },
    // Many changes leave the way to the key as it was.
    (plaintext) =>
      (named || !usesKey(vault, sample, original)) && Buffer.from(plaintext).equals(sample.plaintext),
  )
}

function usesKey(vault: Vault, { bytes }: Sample, { keyId }: Binding): boolean {
  return vault.keyfold.inspect(bytes).wraps.some((wrap) => wrap.keyId === keyId)
}

/** The bindings that a lookup found, or undefined where they do not all parse. */
function parsedBindings(found: unknown): readonly Binding[] | undefined {
  try {
    return Array.isArray(found) ? Array.from(found, (each: unknown) => parseBinding(each).binding) : undefined
  } catch {
    return undefined
  }
}

function contains(context: KeyContext, match: KeyContext): boolean {
  return Object.keys(match).every((name) => Object.hasOwn(context, name) && context[name] === match[name])
}

/** A provider or a cloud that lies, once or always, or answers with what is no answer. */
async function replyCase({ vault, samples }: Target, chance: Chance, log: CaseLog): Promise<void> {
  const sample = chance.pick(samples)
  const { context, aad, kind } = sample
  const never = chance.oneIn(400)
  const keyfold = never || chance.oneIn(8) ? vault.hasty : vault.keyfold
  log.steps.push(`sample ${sample.name}`)
  let left = chance.pick([1, 1, 2, 99])
  vault.hook = (from, action, reply) => {
    if (left === 0 || chance.oneIn(3)) return reply
    left--
    const mutated = never
      ? { value: new Promise(() => {}), what: "never" }
      : mutateReply(chance, from, action, reply)
    log.steps.push(`${from} ${action}: ${mutated.what}`)
    if ("thrown" in mutated) throw mutated.thrown
    return mutated.value
  }
  if (chance.oneIn(3)) return replyToWrap(vault, keyfold, sample, log)
  const open = async () => {
    if (kind === "data-key") return (await keyfold.decryptDataKey(sample.bytes, { context })).key
    return (await keyfold.decrypt(sample.bytes, { context, ...(aad && { aad }) })).plaintext
  }
  // A reply that was not used, or tried again, or changed where it means nothing: the plaintext is right then.
  await refused(log, "open", open, (plaintext) => Buffer.from(plaintext).equals(sample.plaintext))
}

async function replyToWrap(vault: Vault, keyfold: Keyfold, sample: Sample, log: CaseLog): Promise<void> {
  const { context } = sample
  const plaintext = "kf-canary-text"
  let made: Uint8Array | undefined
  try {
    log.steps.push("encrypt")
    made = await keyfold.encrypt(plaintext, { context })
    keyfold.inspect(made)
  } catch (error) {
    noteError(log, "encrypt", error)
  }
  if (made === undefined) return
  vault.hook = undefined
  const envelope = made
  // Nobody can see what a KEK wrapped; but it never opens to anything else.
  await refused(
    log,
    "decrypt what was made",
    () => vault.keyfold.decrypt(envelope, { context }),
    (found) => Buffer.from(found.plaintext).toString() === plaintext,
  )
}

/** Values that no caller should give: every one is refused with a KeyfoldError. */
async function argumentCase({ vault, samples }: Target, chance: Chance, log: CaseLog): Promise<void> {
  const sample = chance.pick(samples)
  const value = junk(chance)
  const call = chance.below(5)
  const { keyfold } = vault
  const given = value as never
  await refused<unknown>(log, `arguments ${call}`, () => {
    if (call === 0) return keyfold.decrypt(given, { context: sample.context })
    if (call === 1) return keyfold.decrypt(sample.bytes, given)
    if (call === 2) return keyfold.decryptRange(given, 0, 1, { context: sample.context })
    if (call === 3) return keyfold.decryptStream(given, { context: sample.context })
    return keyfold.rekeyDataKey(sample.bytes, { context: sample.context, newContext: given })
  })
}
