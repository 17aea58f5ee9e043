/** Changes contexts, bindings and the replies of KEKs and clouds; some into what is none of them. */
import { type FailureCode, type KeyContext, KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import type { Chance } from "./chance.ts"
import type { ReplySource } from "./vault.ts"

export type MutatedContext = {
  readonly context: unknown
  /** What the rules of docs/format.md say of it; `unknown` where the value itself changes its mind. */
  readonly rule: "valid" | "invalid" | "unknown"
  readonly what: string
}

export function mutateContext(chance: Chance, original: KeyContext): MutatedContext {
  if (chance.oneIn(6))
    return { context: trickyObject(chance, original), rule: "unknown", what: "a tricky object" }
  if (chance.oneIn(8)) return { context: junk(chance), rule: "unknown", what: "no object" }
  const context: Record<string, string> = Object.assign(Object.create(null), original)
  const names = Object.keys(context)
  const name = chance.pick(names)
  const value = context[name] as string
  const change = chance.pick(CONTEXT_CHANGES)
  switch (change) {
    case "value":
      context[name] = mutateText(chance, value)
      break
    case "name":
      delete context[name]
      context[mutateText(chance, name)] = value
      break
    case "left out":
      delete context[name]
      break
    case "more":
      context[mutateText(chance, name)] = value
      break
    case "swapped": {
      const other = chance.pick(names)
      context[name] = context[other] as string
      context[other] = value
      break
    }
    case "many":
      for (let i = chance.below(13); i > 0; i--) context[`n${i}`] = "v"
      break
    case "special name":
      context[chance.pick(SPECIAL_NAMES)] = value
      break
  }
  return { context, rule: isValid(context) ? "valid" : "invalid", what: change }
}

const CONTEXT_CHANGES = [
  "value",
  "value",
  "name",
  "left out",
  "more",
  "swapped",
  "many",
  "special name",
] as const
const SPECIAL_NAMES = [
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "0",
  "-1",
  "keyfold:x",
  "keyfold",
  "\ufeffa",
]

/** The rules as docs/format.md gives them, written again. */
function isValid(context: KeyContext): boolean {
  const pairs = Object.entries(context)
  const fits = (text: string, most: number) =>
    text !== "" && [...text].length <= most && !/\p{Surrogate}/u.test(text) && !text.includes("\u0000")
  return (
    pairs.length >= 1 &&
    pairs.length <= 10 &&
    pairs.every(([name, value]) => fits(name, 120) && fits(value, 500) && !name.startsWith("keyfold:"))
  )
}

function mutateText(chance: Chance, text: string): string {
  const at = chance.below(text.length + 1)
  const change = chance.below(10)
  const insert = (what: string) => text.slice(0, at) + what + text.slice(at)
  if (change === 0) return ""
  if (change === 1)
    return insert(chance.pick(["\u0000", "\ud800", "\udfff", "\ufeff", "\u200b", "💡", "\u0301"]))
  if (change === 2) return text.normalize(chance.pick(["NFC", "NFD", "NFKC"]))
  if (change === 3) return text.toUpperCase()
  if (change === 4) return chance.pick(["x", "💡"]).repeat(chance.pick([119, 120, 121, 499, 500, 501, 2000]))
  if (change === 5) return text.slice(0, at)
  if (change === 6) return ` ${text}`
  if (change === 7) return `keyfold:${text}`
  return insert(String.fromCharCode(1 + chance.below(0xd7ff)))
}

function trickyObject(chance: Chance, original: KeyContext): unknown {
  const fail = () => {
    throw new Error("no")
  }
  switch (chance.below(10)) {
    case 0:
      return Object.create(original)
    case 1:
      return Object.entries(original)
    case 2:
      return new Map(Object.entries(original))
    case 3:
      return new Proxy({ ...original }, { ownKeys: fail })
    case 4:
      return new Proxy({ ...original }, { get: fail })
    case 5:
      return Object.defineProperty({ ...original }, "getter", { enumerable: true, get: fail })
    case 6:
      return { ...original, [Symbol("s")]: "x" }
    case 7:
      return Object.defineProperty({ ...original }, "hidden", { value: "x", enumerable: false })
    case 8:
      return { ...original, more: junk(chance) }
    default:
      return JSON.parse(`{"__proto__": ${JSON.stringify(original)}}`)
  }
}

/** What is no context, no binding, no reply and no option. */
export function junk(chance: Chance): unknown {
  const fail = () => {
    throw new Error("no")
  }
  return chance.pick<() => unknown>([
    () => undefined,
    () => null,
    () => "",
    () => "text",
    () => 0,
    () => Number.NaN,
    () => 2n ** 70n,
    () => true,
    () => Symbol("s"),
    () => [],
    () => [[[]]],
    () => ({}),
    () => Object.create(null),
    () => new Uint8Array(chance.below(40)),
    () => Buffer.alloc(chance.below(40)),
    () => new ArrayBuffer(8),
    () => new Float64Array(4),
    () => new Date(Number.NaN),
    () => new Map(),
    () => fail,
    () => new Proxy({}, { get: fail }),
    () => new Proxy({}, { ownKeys: fail, getOwnPropertyDescriptor: fail }),
    () => new Proxy(() => {}, { apply: fail }),
    () => new Proxy({}, { getPrototypeOf: fail }),
    () => ({ length: 2 ** 40 }),
    () => ({
      get length(): number {
        return fail()
      },
    }),
  ])()
}

/** The list that a lookup finds, with something wrong. */
export function mutateBinding(
  chance: Chance,
  original: Binding,
  all: readonly Binding[],
): { readonly found: unknown; readonly what: string } {
  const others = all.filter(({ id }) => id !== original.id)
  if (chance.oneIn(10)) return { found: junk(chance), what: "no list" }
  if (chance.oneIn(12)) return { found: [...others, original, junk(chance)], what: "junk in the list" }
  if (chance.oneIn(12)) return { found: [...all, { ...original, id: "again" }], what: "twice" }
  if (chance.oneIn(20)) {
    const holes = [...others, original]
    holes.length += 1
    return { found: holes, what: "a hole in the list" }
  }
  const fields: Record<string, unknown> = { ...original }
  const names = Object.keys(fields)
  const change = chance.pick(BINDING_CHANGES)
  switch (change) {
    case "drop a field":
      delete fields[chance.pick(names)]
      break
    case "junk in a field":
      fields[chance.pick(names)] = junk(chance)
      break
    case "state":
      fields.state = chance.pick(["pending", "active", "disabled", "removed", "Active", ""])
      break
    case "match":
      fields.match = mutateContext(chance, original.match).context
      break
    case "a field of another": {
      const name = chance.pick(names)
      fields[name] = (chance.pick(all) as Record<string, unknown>)[name]
      break
    }
    case "key id":
      fields.keyId = mutateText(chance, original.keyId)
      break
    case "owner":
      fields.owner = mutateText(chance, original.owner)
      break
    case "lease":
      fields.leaseTtlMs = chance.pick([0, 1, 3_600_000, 3_600_001, -1, 0.5, "0", Number.NaN])
      break
    case "inherited":
      return { found: [...others, Object.create(original)], what: change }
    case "history": {
      const entry: Record<string, unknown> = {
        match: original.match,
        pairs: Object.keys(original.match),
        provider: original.provider,
        keyId: original.keyId,
        owner: original.owner,
        options: {},
        publicKey: original.publicKey,
        companion: original.companion,
        leaseTtlMs: original.leaseTtlMs,
        lastVersion: chance.pick([undefined, 0, 1, -1, 2 ** 32]),
        closedAt: "2026-01-01T00:00:00Z",
      }
      if (chance.oneIn(2)) entry[chance.pick(Object.keys(entry))] = junk(chance)
      fields.history = [...original.history, entry]
      break
    }
  }
  return { found: [...others, fields], what: change }
}

const BINDING_CHANGES = [
  "drop a field",
  "junk in a field",
  "junk in a field",
  "state",
  "match",
  "a field of another",
  "key id",
  "owner",
  "lease",
  "inherited",
  "history",
] as const

export type MutatedReply =
  | { readonly value: unknown; readonly what: string }
  | { readonly thrown: unknown; readonly what: string }

/** `what` ends with "secret" where the reply holds another secret than the true one. */
export function mutateReply(
  chance: Chance,
  from: ReplySource,
  action: "wrap" | "unwrap",
  reply: unknown,
): MutatedReply {
  if (chance.oneIn(5)) return { thrown: thrownValue(chance), what: "throws" }
  if (chance.oneIn(5)) return { value: junk(chance), what: "junk for a secret" }
  if (chance.oneIn(10)) return { value: trickyPromise(chance), what: "a promise of junk for a secret" }
  if (from === "kek" && action === "unwrap") {
    return { value: mutateSecret(chance, reply as Uint8Array), what: "another secret" }
  }
  const fields: Record<string, unknown> = { ...(reply as Record<string, unknown>) }
  const name = chance.pick(Object.keys(fields))
  const value = fields[name]
  if (chance.oneIn(3)) {
    fields[name] = junk(chance)
    return { value: fields, what: `junk in ${name}` }
  }
  if (chance.oneIn(6)) {
    delete fields[name]
    return { value: fields, what: `no ${name}` }
  }
  if (value instanceof Uint8Array) {
    fields[name] = name === "wrapped" ? mutateBlob(chance, value) : mutateSecret(chance, value)
    return { value: fields, what: name.toLowerCase() === "plaintext" ? "another secret" : `another ${name}` }
  }
  if (typeof value === "boolean") fields[name] = !value
  else if (typeof value === "number") fields[name] = chance.pick([-1, 1.5, 2 ** 32, 2 ** 32 - 1, value + 1])
  else if (typeof value === "string") fields[name] = mutateText(chance, value)
  else fields[name] = { value: chance.next() }
  return { value: fields, what: `another ${name}` }
}

function mutateSecret(chance: Chance, secret: Uint8Array): Uint8Array {
  const changed = Uint8Array.from(secret)
  switch (chance.below(5)) {
    case 0:
      return chance.bytes(chance.pick([0, 1, 16, 31, 33, 64]))
    case 1:
      return new Uint8Array(32)
    case 2:
      return Uint8Array.from(chance.bytes(32))
    default:
      if (changed.length > 0) changed[chance.below(changed.length)]! ^= 1 << chance.below(8)
      return changed
  }
}

function mutateBlob(chance: Chance, blob: Uint8Array): Uint8Array {
  const length = chance.pick([0, 1, 75, 76, 77, 8192, 8193, 70_000])
  return chance.oneIn(2) ? new Uint8Array(length) : mutateSecret(chance, blob)
}

function thrownValue(chance: Chance): unknown {
  const fail = () => {
    throw new Error("no")
  }
  const cyclic = new Error("cyclic")
  cyclic.cause = cyclic
  const code = chance.pick<FailureCode>([
    "KEY_DISABLED",
    "DECRYPTION_FAILED",
    "UNKNOWN",
    "TIMEOUT",
    "ABORTED",
    "NONE" as never,
  ])
  return chance.pick<() => unknown>([
    () => junk(chance),
    () => cyclic,
    () => new KeyfoldError(code, "as told"),
    () => Object.assign(new Error("x"), { name: chance.pick(AWS_NAMES), $metadata: junk(chance) }),
    () => Object.assign(new Error("x"), { code: chance.below(20), details: junk(chance) }),
    () => Object.defineProperty(new Error("x"), "name", { get: fail }),
    () => Object.defineProperty(new Error("x"), "code", { get: fail }),
    () => Object.freeze(new Error("x")),
  ])()
}

const AWS_NAMES = [
  "AccessDeniedException",
  "DisabledException",
  "KMSInvalidStateException",
  "NotFoundException",
  "ThrottlingException",
  "KeyUnavailableException",
  "__proto__",
  "constructor",
]

function trickyPromise(chance: Chance): unknown {
  const value = junk(chance)
  const fail = () => {
    throw new Error("no")
  }
  return chance.pick<() => unknown>([
    () => Promise.resolve(value),
    () => Promise.reject(thrownValue(chance)),
    // biome-ignore lint/suspicious/noThenProperty: what is no promise is what is tried
    () => ({ then: fail }),
    () => ({
      // biome-ignore lint/suspicious/noThenProperty: what is no promise is what is tried
      then(done: (value: unknown) => void, refuse: (error: unknown) => void) {
        done(value)
        refuse(new Error("both"))
        done(undefined)
      },
    }),
  ])()
}
