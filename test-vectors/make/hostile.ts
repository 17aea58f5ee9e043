/** The hostile vectors: valid ones with one thing wrong each, made by surgery and not by core. */
import { createCipheriv } from "node:crypto"
import type { Vector, VectorCandidate } from "../vector-types.ts"
import { candidate, one, owned, two } from "./specs.ts"
import { build, canonical, digestOf, keysOf, type Parts, take, type WrapParts } from "./surgery.ts"
import type { Made } from "./valid.ts"

type Change = (parts: Parts) => void
const MALFORMED = "MALFORMED_ENVELOPE"
const UNSUPPORTED = "UNSUPPORTED_VERSION"
const FAILED = "DECRYPTION_FAILED"

/** Hostile vectors of one theme, by the name of their file. */
export function hostileVectors(valid: ReadonlyMap<string, Made>): Record<string, Vector[]> {
  const groups: Record<string, Vector[]> = {}
  let group: Vector[] = []
  const open = (name: string) => {
    group = []
    groups[name] = group
  }
  const base = (id: string): Made => valid.get(`valid-${id}`) as Made
  const put = (
    id: string,
    flags: string[],
    comment: string,
    from: Made,
    envelope: Buffer | string,
    code: string,
    more: Partial<Vector> = {},
  ) => {
    const encoding = typeof envelope === "string" ? "text" : "hex"
    const text = typeof envelope === "string" ? envelope : envelope.toString("hex")
    group.push({ ...from.vector, id, flags, comment, encoding, envelope: text, expect: { code }, ...more })
  }
  /** One change in the parts, under a MAC that holds. */
  const change = (
    id: string,
    flags: string[],
    comment: string,
    from: string,
    code: string,
    edit: Change,
    more: Partial<Vector> = {},
  ) => {
    const made = base(from)
    const parts = take(made.envelope)
    edit(parts)
    const context = made.vector.context ?? (made.vector.expect as { context: Record<string, string> }).context
    put(id, flags, comment, made, build(parts, made.dek, digestOf(context)), code, more)
  }
  const wrap = (parts: Parts, slot: number) => parts.wraps[slot] as WrapParts

  open("hostile-header")
  for (let at = 0; at < 4; at++)
    change(`magic-${at}`, ["header"], "another magic", "all-1", MALFORMED, ({ immutable }) =>
      immutable.writeUInt8(0x21, at),
    )
  for (const [field, at, values] of [
    ["version", 4, [0, 2, 255]],
    ["suite", 5, [0, 2, 255]],
    ["kind", 6, [0, 3, 255]],
  ] as const) {
    for (const value of values)
      change(`${field}-${value}`, ["version"], `${field} ${value}`, "all-1", UNSUPPORTED, ({ immutable }) =>
        immutable.writeUInt8(value, at),
      )
  }
  for (const value of [0, 11, 21, 255])
    change(
      `exponent-${value}`,
      ["header", "limits"],
      `segment size exponent ${value}`,
      "all-1",
      MALFORMED,
      ({ immutable }) => immutable.writeUInt8(value, 7),
    )
  for (const value of [0, 11, 255])
    change(
      `pair-count-${value}`,
      ["header", "limits"],
      `pair count ${value}`,
      "all-1",
      MALFORMED,
      ({ immutable }) => immutable.writeUInt8(value, 8),
    )
  change("pair-count-more", ["wraps"], "a pair count above the context's", "all-2", FAILED, ({ immutable }) =>
    immutable.writeUInt8(3, 8),
  )
  for (const value of [0, 79, 65_537, 0xffffffff])
    change(
      `header-length-${value}`,
      ["header", "limits"],
      `header length ${value}`,
      "all-1",
      MALFORMED,
      (parts) => {
        parts.headerLength = value
      },
    )
  for (const by of [-1, 1])
    change(
      `header-length-by-${by}`,
      ["header", "canonical"],
      `header length off by ${by}`,
      "all-1",
      MALFORMED,
      (parts) => {
        parts.headerLength = 176 + by
      },
    )
  for (const value of [0, 3, 255])
    change(`policy-${value}`, ["header"], `policy ${value}`, "all-1", MALFORMED, (parts) => {
      parts.policy = value
    })
  for (const value of [0, 1, 3, 21, 255])
    change(
      `wrap-count-${value}`,
      ["header", "limits"],
      `a number of wraps of ${value} with 2 wraps`,
      "all-2",
      MALFORMED,
      (parts) => {
        parts.wrapCount = value
      },
    )
  for (const [id, bytes] of [
    ["empty", ""],
    ["long", "a".repeat(33)],
    ["upper", "Managed"],
    ["space", "man aged"],
    ["slash", "../managed"],
  ] as const)
    change(
      `provider-${id}`,
      ["header", "limits"],
      "a provider id that cannot be",
      "all-1",
      MALFORMED,
      (parts) => {
        wrap(parts, 0).provider = Buffer.from(bytes)
      },
    )
  for (const length of [0, 15, 17])
    change(
      `managed-key-id-${length}`,
      ["header", "limits"],
      `a managed key id of ${length} bytes`,
      "all-1",
      MALFORMED,
      (parts) => {
        wrap(parts, 0).keyId = Buffer.alloc(length, 1)
      },
    )
  for (const [id, bytes] of [
    ["empty", Buffer.alloc(0)],
    ["long", Buffer.alloc(1025, 97)],
    ["space", Buffer.from("a b")],
    ["delete", Buffer.of(0x7f)],
    ["escape", Buffer.of(0x1b, 0x5b)],
    ["utf8", Buffer.from("ä")],
  ] as const)
    change(`key-id-${id}`, ["header", "limits"], "a key id that cannot be", "aws", MALFORMED, (parts) => {
      wrap(parts, 1).keyId = bytes
    })
  change("mask-zero", ["header", "canonical"], "a wrap that covers nothing", "all-2", MALFORMED, (parts) => {
    wrap(parts, 0).mask = 0
  })
  for (const bit of [1, 9, 15])
    change(
      `mask-bit-${bit}`,
      ["header", "canonical"],
      "a pair bit at or beyond the count",
      "all-1",
      MALFORMED,
      (parts) => {
        wrap(parts, 0).mask = 1 | (1 << bit)
      },
    )
  for (const role of [3, 255])
    change(`role-${role}`, ["header"], `role ${role}`, "all-1", MALFORMED, (parts) => {
      wrap(parts, 0).role = role
    })
  change(
    "role-managed-leased",
    ["header", "lease"],
    "a managed wrap with the role of a leased one",
    "all-1",
    MALFORMED,
    (parts) => {
      wrap(parts, 0).role = 1
    },
  )
  change(
    "role-cloud-companion",
    ["header", "companion"],
    "a CMK's wrap with the role of a companion",
    "azure",
    MALFORMED,
    (parts) => {
      wrap(parts, 1).role = 2
      wrap(parts, 2).role = 0
    },
  )
  change(
    "managed-version-0",
    ["header", "managed"],
    "a managed wrap without a key version",
    "all-1",
    MALFORMED,
    (parts) => {
      wrap(parts, 0).version = 0
    },
  )
  for (const length of [0, 75, 77])
    change(
      `managed-wrapped-${length}`,
      ["header", "managed", "limits"],
      `a managed wrap of ${length} bytes`,
      "all-1",
      MALFORMED,
      (parts) => {
        wrap(parts, 0).wrapped = Buffer.alloc(length, 1)
      },
    )
  for (const length of [0, 8193])
    change(
      `wrapped-${length}`,
      ["header", "limits"],
      `a wrap of ${length} bytes`,
      "aws",
      MALFORMED,
      (parts) => {
        wrap(parts, 1).wrapped = Buffer.alloc(length, 1)
      },
    )
  change("order", ["canonical"], "wraps in another order", "all-2", MALFORMED, (parts) => {
    parts.wraps.reverse()
  })
  change("order-equal", ["canonical"], "two wraps with the same lowest pair", "all-2", MALFORMED, (parts) => {
    wrap(parts, 1).mask = 1
  })
  change(
    "companion-first",
    ["canonical", "companion"],
    "a companion before every other wrap",
    "all-2",
    MALFORMED,
    (parts) => {
      wrap(parts, 0).role = 2
    },
  )
  change(
    "companion-mask",
    ["canonical", "companion"],
    "a companion of other pairs than the wrap before it",
    "azure",
    MALFORMED,
    (parts) => {
      wrap(parts, 2).mask = 3
    },
  )
  change(
    "companion-twice",
    ["canonical", "companion"],
    "two companions in a row",
    "azure",
    MALFORMED,
    (parts) => {
      parts.wraps.push({ ...wrap(parts, 2) })
    },
  )
  change("wraps-21", ["limits"], "21 wraps", "all-10", MALFORMED, (parts) => {
    parts.wraps = parts.wraps.flatMap((each) => [each, { ...each, role: 2 }]).concat({ ...wrap(parts, 9) })
  })

  open("hostile-cut")
  for (const length of [0, 3, 4, 9, 28, 29, 30, 60, 140, 175])
    put(
      `cut-${length}`,
      ["cut"],
      `only the first ${length} bytes`,
      base("all-1"),
      base("all-1").envelope.subarray(0, length),
      MALFORMED,
    )
  put(
    "no-payload",
    ["cut", "payload"],
    "a header alone",
    base("all-1"),
    base("all-1").envelope.subarray(0, 176),
    FAILED,
  )
  put("zeros", ["header"], "zeros", base("all-1"), Buffer.alloc(300), MALFORMED)
  const text = base("text").vector.envelope
  for (const [id, comment, changed] of [
    ["padding", "padding", `${base("text-1").vector.envelope}=`],
    ["space", "white space", `${text.slice(0, 40)} ${text.slice(40)}`],
    ["newline", "a line break at the end", `${text}\n`],
    ["standard", "a character of standard base64", `${text.slice(0, 50)}+${text.slice(51)}`],
    ["length", "a length that no bytes have", `${text.slice(0, text.length - (text.length % 4))}A`],
    ["spare-bits", "spare bits that are set", spareBits(valid)],
    ["empty", "an empty string", ""],
  ] as const)
    put(`text-${id}`, ["text", "canonical"], comment, base("text"), changed, MALFORMED)

  open("hostile-context")
  const embeddedOf =
    (edit: (pairs: [string, string][]) => Buffer): Change =>
    (parts) => {
      parts.context = edit([
        ["data_type", "ssn"],
        ["organization_id", "org_1"],
      ])
    }
  for (const [id, comment, edit] of [
    ["unsorted", "pairs in another order", (pairs) => canonical(pairs.reverse())],
    [
      "duplicate",
      "a name twice",
      (pairs) => canonical([pairs[0] as [string, string], pairs[0] as [string, string]]),
    ],
    ["empty-name", "an empty name", (pairs) => canonical([["", "x"], pairs[1] as [string, string]])],
    [
      "empty-value",
      "an empty value",
      (pairs) => canonical([["data_type", ""], pairs[1] as [string, string]]),
    ],
    ["nul", "U+0000", (pairs) => canonical([["data_type", "s\0n"], pairs[1] as [string, string]])],
    [
      "reserved",
      "a reserved name",
      (pairs) => canonical([["keyfold:x", "ssn"], pairs[1] as [string, string]]),
    ],
    [
      "overlong",
      "UTF-8 that is longer than need be",
      (pairs) => canonical([["data_type", Buffer.of(0xc1, 0xa1)], pairs[1] as [string, string]]),
    ],
    [
      "surrogate",
      "UTF-8 of a surrogate",
      (pairs) => canonical([["data_type", Buffer.of(0xed, 0xa0, 0x80)], pairs[1] as [string, string]]),
    ],
    [
      "name-121",
      "a name of 121 code points",
      (pairs) => canonical([["d".repeat(121), "ssn"], pairs[1] as [string, string]]),
    ],
    [
      "value-501",
      "a value of 501 code points",
      (pairs) => canonical([["data_type", "s".repeat(501)], pairs[1] as [string, string]]),
    ],
    ["count-less", "a count below the pairs", (pairs) => canonical(pairs, 1)],
    ["count-more", "a count above the pairs", (pairs) => canonical(pairs, 3)],
    ["one-pair", "fewer pairs than the header says", (pairs) => canonical(pairs.slice(1))],
    ["trailing", "a byte after the last pair", (pairs) => Buffer.concat([canonical(pairs), Buffer.of(0)])],
    ["count-0", "no pair", () => Buffer.of(0)],
  ] as [string, string, (pairs: [string, string][]) => Buffer][]) {
    change(
      `embedded-${id}`,
      ["context", "embedded", "canonical"],
      comment,
      "authorized",
      MALFORMED,
      embeddedOf(edit),
    )
  }
  change(
    "embedded-length",
    ["context", "embedded", "canonical"],
    "a length of the embedded context that does not fit",
    "authorized",
    MALFORMED,
    (parts) => {
      parts.contextLength = 3
    },
  )
  change(
    "embedded-other",
    ["context", "embedded"],
    "an embedded context that is not the given one",
    "embedded",
    FAILED,
    (parts) => {
      parts.context = canonical([
        ["data_type", "ssn"],
        ["organization_id", "org_2"],
      ])
    },
  )
  change(
    "embedded-swapped",
    ["context", "embedded"],
    "an embedded context replaced by another that authorize allows",
    "authorized",
    FAILED,
    (parts) => {
      parts.context = canonical([
        ["data_type", "ssn"],
        ["organization_id", "org_2"],
      ])
    },
  )
  change(
    "embedded-removed-data-key",
    ["context", "data-key"],
    "a data key without its context",
    "data-key",
    MALFORMED,
    (parts) => {
      parts.context = Buffer.alloc(0)
    },
  )
  const same = (
    id: string,
    flags: string[],
    comment: string,
    from: string,
    code: string,
    more: Partial<Vector>,
  ) => put(id, flags, comment, base(from), base(from).envelope, code, more)
  const pairsOf = (context: Record<string, string>) =>
    Object.keys(context).map((name, i) => candidate(i === 0 ? "kek0" : "kek1", [name]))
  for (const [id, comment, context] of [
    ["value", "another value", { ...two, data_type: "ssm" }],
    ["case", "another case", { ...two, data_type: "SSN" }],
    ["name", "another name", { organization_id: "org_1", datatype: "ssn" }],
    ["fewer", "a pair missing", one],
    ["swapped", "values swapped", { organization_id: "ssn", data_type: "org_1" }],
  ] as [string, string, Record<string, string>][]) {
    same(`context-${id}`, ["context"], comment, "aad", FAILED, { context, candidates: pairsOf(context) })
  }
  same("context-more", ["context"], "a pair too many", "all-1", FAILED, {
    context: { name_0: "value 0", more: "x" },
    candidates: [candidate("kek0", ["name_0"]), candidate("kek1", ["more"])],
  })
  same("context-normalised", ["context"], "NFC given, NFD encrypted", "context-decomposed", FAILED, {
    context: { "caf\u00e9": "\u00e9" },
    candidates: [candidate("kek0", ["caf\u00e9"])],
  })
  same("context-empty", ["context", "limits"], "no pair given", "all-1", "INVALID_CONTEXT", {
    context: {},
    candidates: [],
  })
  same("context-eleven", ["context", "limits"], "eleven pairs given", "all-1", "INVALID_CONTEXT", {
    context: Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`n${i}`, "v"])),
    candidates: [],
  })
  same("context-none", ["context"], "neither a context nor authorize", "all-1", "INVALID_ARGUMENT", {
    context: null,
  })
  same(
    "context-not-embedded",
    ["context", "embedded"],
    "authorize, but nothing embedded",
    "all-1",
    "INVALID_ARGUMENT",
    { context: null, authorize: true },
  )
  same("authorize-refuses", ["context", "embedded"], "authorize says no", "authorized", FAILED, {
    authorize: false,
  })
  same("aad-missing", ["aad"], "additional data not given", "aad", FAILED, { aad: null })
  same("aad-other", ["aad"], "other additional data", "aad", FAILED, {
    aad: Buffer.from("row 8").toString("hex"),
  })
  same("aad-unwanted", ["aad"], "additional data where there was none", "all-1", FAILED, { aad: "00" })
  same("aad-over", ["aad", "limits"], "more additional data than is allowed", "aad-64k", "INVALID_ARGUMENT", {
    aad: "a5".repeat(65_537),
  })
  same("kind-message", ["data-key"], "a message where a data key is wanted", "embedded", FAILED, {
    operation: "decrypt-data-key",
  })
  same("kind-data-key", ["data-key"], "a data key where a message is wanted", "data-key", FAILED, {
    operation: "decrypt",
  })
  same("kind-range", ["data-key", "range"], "a range of a data key", "data-key", FAILED, {
    operation: "decrypt-range",
    range: [0, 1],
  })

  open("hostile-mac")
  for (const [id, at] of [
    ["first", 144],
    ["last", 175],
  ] as const)
    put(
      `mac-${id}`,
      ["mac"],
      "a bit of the MAC flipped",
      base("all-1"),
      flip(base("all-1").envelope, at),
      FAILED,
    )
  const raw = (id: string, flags: string[], comment: string, from: string, edit: Change) => {
    const parts = take(base(from).envelope)
    edit(parts)
    put(id, flags, comment, base(from), build(parts), FAILED)
  }
  raw("mac-zero", ["mac"], "a MAC of zeros", "all-1", (parts) => parts.mac.fill(0))
  raw("salt", ["mac", "header"], "a bit of the salt flipped", "all-1", ({ immutable }) =>
    immutable.writeUInt8(immutable.readUInt8(9) ^ 1, 9),
  )
  change(
    "salt-mac",
    ["wraps", "header"],
    "another salt, under a MAC that holds",
    "all-1",
    FAILED,
    ({ immutable }) => immutable.writeUInt8(immutable.readUInt8(9) ^ 1, 9),
  )
  raw("exponent-mac", ["mac", "header"], "another segment size", "all-1", ({ immutable }) =>
    immutable.writeUInt8(16, 7),
  )
  const zero = (id: string, comment: string, from: string, edit: Change) => {
    const made = base(from)
    const parts = take(made.envelope)
    edit(parts)
    put(
      id,
      ["mac", "policy", "wraps"],
      comment,
      made,
      build(parts, Buffer.alloc(32), digestOf(made.vector.context as Record<string, string>)),
      FAILED,
    )
  }
  zero("zero-dek", "a MAC under a DEK of zeros", "all-2", () => undefined)
  zero("zero-dek-any", "the policy turned to any, under a MAC of a DEK of zeros", "all-2", (parts) => {
    parts.policy = 2
  })
  zero(
    "zero-dek-all",
    "the policy turned to all, under a MAC of a DEK of zeros: equal shares would cancel",
    "any-2",
    (parts) => {
      parts.policy = 1
    },
  )
  zero("zero-dek-copy", "one wrap copied to two slots, under a MAC of a DEK of zeros", "all-2", (parts) => {
    parts.wraps[1] = { ...wrap(parts, 0), mask: 2 }
  })

  open("hostile-wraps")
  for (const [id, at] of [
    ["salt", 0],
    ["iv", 16],
    ["ciphertext", 28],
    ["tag", 60],
    ["last", 75],
  ] as const)
    change(
      `wrapped-${id}`,
      ["wraps", "managed"],
      `a bit in the ${id} of a managed wrap flipped`,
      "all-2",
      FAILED,
      (parts) => {
        wrap(parts, 1).wrapped = flip(wrap(parts, 1).wrapped, at)
      },
    )
  for (const kek of ["aws", "gcp", "azure", "hsm-gcm", "hsm-kw"]) {
    change(`algorithm-${kek}`, ["wraps", "cloud"], "another algorithm byte", kek, FAILED, (parts) =>
      wrap(parts, 1).wrapped.writeUInt8(9, 0),
    )
    change(
      `ciphertext-${kek}`,
      ["wraps", "cloud"],
      "a bit in a cloud's ciphertext flipped",
      kek,
      FAILED,
      (parts) => {
        wrap(parts, 1).wrapped = flip(wrap(parts, 1).wrapped, 30)
      },
    )
  }
  for (const [id, at] of [
    ["salt", 0],
    ["lease-key", 30],
    ["last", -1],
  ] as const)
    change(
      `lease-${id}`,
      ["wraps", "lease"],
      "a bit of a leased wrap flipped",
      "lease-hsmGcm",
      FAILED,
      (parts) => {
        wrap(parts, 1).wrapped = flip(wrap(parts, 1).wrapped, at < 0 ? wrap(parts, 1).wrapped.length - 1 : at)
      },
    )
  change(
    "lease-as-direct",
    ["wraps", "lease"],
    "a leased wrap said to be a direct one",
    "lease-hsmGcm",
    FAILED,
    (parts) => {
      wrap(parts, 1).role = 0
    },
  )
  change(
    "direct-as-lease",
    ["wraps", "lease"],
    "a direct wrap said to be a leased one",
    "hsm-gcm",
    FAILED,
    (parts) => {
      wrap(parts, 1).role = 1
    },
  )
  same("lease-environment", ["lease"], "a lease of another environment", "lease-hsmGcm", FAILED, {
    environment: "other",
  })
  same("lease-owner", ["lease"], "a lease of another owner", "lease-hsmGcm", FAILED, {
    candidates: [
      candidate("hsmGcm", ["organization_id"], { owner: "org_2" }),
      candidate("kek1", ["data_type"]),
    ],
  })
  change("policy-any", ["wraps", "policy"], "all turned to any", "all-2", FAILED, (parts) => {
    parts.policy = 2
  })
  change("policy-all", ["wraps", "policy"], "any turned to all", "any-2", FAILED, (parts) => {
    parts.policy = 1
  })
  change(
    "kind-turned",
    ["wraps", "data-key"],
    "a message turned to a data key",
    "embedded",
    FAILED,
    ({ immutable }) => immutable.writeUInt8(2, 6),
    { operation: "decrypt-data-key" },
  )
  change(
    "kind-turned-back",
    ["wraps", "data-key"],
    "a data key turned to a message",
    "data-key",
    FAILED,
    ({ immutable }) => immutable.writeUInt8(1, 6),
    { operation: "decrypt" },
  )
  change("wrap-copied", ["wraps"], "one wrap copied to two slots", "all-2", FAILED, (parts) => {
    parts.wraps[1] = { ...wrap(parts, 1), wrapped: wrap(parts, 0).wrapped }
  })
  change("wrap-dropped", ["wraps", "match"], "a wrap dropped", "all-3", FAILED, (parts) => {
    parts.wraps.pop()
  })
  change(
    "wrap-dropped-any",
    ["wraps", "policy", "match"],
    "a wrap dropped under any",
    "any-3",
    FAILED,
    (parts) => {
      parts.wraps.pop()
    },
  )
  change(
    "wrap-of-another",
    ["wraps"],
    "the same KEK's wrap of another envelope",
    "all-1",
    FAILED,
    (parts) => {
      parts.wraps[0] = take(base("any-1").envelope).wraps[0] as WrapParts
    },
  )
  change("claims-more", ["wraps", "match"], "one wrap that claims every pair", "all-2", FAILED, (parts) => {
    parts.wraps = [{ ...wrap(parts, 0), mask: 3 }]
  })
  change("overlap", ["wraps", "match"], "two wraps that cover one pair", "all-2", FAILED, (parts) => {
    wrap(parts, 0).mask = 3
  })
  change("key-id-other", ["match"], "a managed key id that is not of the route", "all-2", FAILED, (parts) => {
    wrap(parts, 0).keyId = Buffer.alloc(16, 1)
  })
  change(
    "key-id-cloud-other",
    ["match", "cloud"],
    "another key of the same account",
    "aws",
    FAILED,
    (parts) => {
      wrap(parts, 1).keyId = Buffer.from(wrap(parts, 1).keyId.toString().replace("1234abcd", "1234abce"))
    },
  )
  change(
    "provider-other",
    ["match", "cloud"],
    "another provider for the same key id",
    "aws",
    FAILED,
    (parts) => {
      wrap(parts, 1).provider = Buffer.from("aws-kmt")
    },
  )
  change(
    "version-other",
    ["match", "managed"],
    "a key version that does not exist",
    "all-1",
    FAILED,
    (parts) => {
      wrap(parts, 0).version = 2
    },
  )
  same("last-version", ["match", "history"], "a version above the last one allowed", "rotated", FAILED, {
    candidates: [candidate("rotated", ["organization_id"], { lastVersion: 2 })],
  })
  same("no-candidate", ["match"], "no candidate at all", "all-1", FAILED, { candidates: [] })
  same("candidate-of-one-pair", ["match"], "a candidate for another pair", "all-2", FAILED, {
    candidates: [candidate("kek0", ["name_1"]), candidate("kek1", ["name_0"])],
  })
  same(
    "managed-displaced",
    ["match", "history"],
    "written under a managed KEK that a binding has displaced, without history",
    "aad",
    FAILED,
    { candidates: [candidate("aws", ["organization_id"], owned), candidate("kek1", ["data_type"])] },
  )
  change(
    "companion-missing",
    ["companion", "match"],
    "a public-key wrap without its companion",
    "azure",
    FAILED,
    (parts) => {
      parts.wraps.splice(2, 1)
    },
  )
  change(
    "companion-missing-lease",
    ["companion", "match", "lease"],
    "a leased public-key wrap without its companion",
    "lease-azure",
    FAILED,
    (parts) => {
      parts.wraps.splice(2, 1)
    },
  )
  change(
    "companion-other",
    ["companion", "match"],
    "a companion that is another KEK",
    "azure",
    FAILED,
    (parts) => {
      wrap(parts, 2).keyId = Buffer.alloc(16, 1)
    },
  )
  change(
    "companion-unwanted",
    ["companion", "match"],
    "a companion beside a key that has none",
    "all-2",
    FAILED,
    (parts) => {
      parts.wraps.splice(1, 0, { ...wrap(parts, 0), role: 2 })
    },
  )
  const mixed: VectorCandidate[] = [
    candidate("hsmGcm", ["organization_id"], owned),
    candidate("kek1", ["data_type"]),
  ]
  change(
    "any-mixed",
    ["policy", "match", "cloud"],
    "any over a CMK beside a managed KEK",
    "hsm-gcm",
    FAILED,
    (parts) => {
      parts.policy = 2
    },
    { candidates: mixed },
  )
  change(
    "any-companion",
    ["policy", "match", "companion"],
    "any over a public-key wrap",
    "azure",
    FAILED,
    (parts) => {
      parts.policy = 2
    },
  )
  same("any-owners", ["policy", "match"], "any over two owners", "any-2", FAILED, {
    candidates: [candidate("kek0", ["name_0"], owned), candidate("kek1", ["name_1"], { owner: "org_2" })],
  })
  const other = base("all-2")
  put(
    "mac-other-dek",
    ["mac"],
    "every wrap opens, under a MAC of another DEK",
    other,
    build(
      take(other.envelope),
      Buffer.alloc(32, 7),
      digestOf(other.vector.context as Record<string, string>),
    ),
    FAILED,
  )

  open("hostile-payload")
  const payload = (
    id: string,
    flags: string[],
    comment: string,
    from: string,
    edit: (payload: Buffer) => Buffer,
    more: Partial<Vector> = {},
  ) => {
    const parts = take(base(from).envelope)
    parts.payload = edit(parts.payload)
    put(id, ["payload", ...flags], comment, base(from), build(parts), FAILED, more)
  }
  payload("payload-ciphertext", [], "a bit of the ciphertext flipped", "all-1", (bytes) => flip(bytes, 0))
  payload("payload-tag", [], "a bit of the tag flipped", "all-1", (bytes) => flip(bytes, bytes.length - 1))
  payload("payload-short-tag", ["cut"], "a tag of 12 bytes", "all-1", (bytes) => bytes.subarray(0, -4))
  payload("payload-15", ["cut"], "fewer bytes than a tag", "all-1", (bytes) => bytes.subarray(0, 15))
  payload("payload-extended", ["cut"], "a byte more", "all-1", (bytes) =>
    Buffer.concat([bytes, Buffer.of(0)]),
  )
  payload(
    "payload-of-another",
    [],
    "the payload of another envelope",
    "all-1",
    () => take(base("any-1").envelope).payload,
  )
  const stride = 4096 + 16
  const order =
    (...segments: number[]) =>
    (bytes: Buffer) =>
      Buffer.concat(segments.map((i) => bytes.subarray(i * stride, (i + 1) * stride)))
  for (const [id, comment, segments] of [
    ["swapped", "two segments swapped", [1, 0, 2, 3]],
    ["dropped-first", "the first segment dropped", [1, 2, 3]],
    ["dropped-middle", "a middle segment dropped", [0, 2, 3]],
    ["dropped-last", "the last segment dropped", [0, 1, 2]],
    ["doubled", "a segment doubled", [0, 1, 1, 2, 3]],
    ["appended", "a segment after the last", [0, 1, 2, 3, 3]],
    ["last-only", "only the last segment", [3]],
  ] as [string, string, number[]][])
    payload(`segments-${id}`, ["segments"], comment, "segments-12289", order(...segments))
  payload(
    "segments-remainder",
    ["segments", "cut"],
    "a last segment of a tag only",
    "segments-8192",
    (bytes) => Buffer.concat([bytes, bytes.subarray(-16)]),
  )
  payload("segments-cut", ["segments", "cut"], "a segment cut", "segments-8193", (bytes) =>
    bytes.subarray(0, stride + 100),
  )
  payload(
    "segments-flag",
    ["segments"],
    "the last segment sealed without its flag",
    "segments-4096",
    (bytes) => resealed(base("segments-4096"), bytes, 0),
  )
  payload(
    "segments-empty-last",
    ["segments"],
    "an empty segment after a full one",
    "segments-4096",
    (bytes) =>
      Buffer.concat([resealed(base("segments-4096"), bytes, 0), sealEmpty(base("segments-4096"), 1)]),
  )
  payload("empty-without-segment", ["cut"], "an empty plaintext without its segment", "segments-0", () =>
    Buffer.alloc(0),
  )
  payload("data-key-31", ["data-key"], "a data key of 31 bytes", "data-key", () =>
    sealBytes(base("data-key"), Buffer.alloc(31, 1)),
  )
  payload("data-key-33", ["data-key"], "a data key of 33 bytes", "data-key", () =>
    sealBytes(base("data-key"), Buffer.alloc(33, 1)),
  )
  payload(
    "range-altered",
    ["range", "segments"],
    "a range over an altered segment",
    "range-4096-8192",
    (bytes) => flip(bytes, stride + 5),
  )
  payload(
    "range-end-cut",
    ["range", "segments"],
    "a range that passes the end of a cut payload",
    "range-8192-end",
    (bytes) => bytes.subarray(0, 2 * stride),
  )
  payload(
    "range-past-end-cut",
    ["range", "segments"],
    "an empty range beyond the end of a cut payload",
    "range-20000-end",
    (bytes) => bytes.subarray(0, 2 * stride),
  )
  return groups
}

function flip(bytes: Uint8Array, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 0x40, at)
  return copy
}

/** A text form whose last character has a bit that no byte needs. */
function spareBits(valid: ReadonlyMap<string, Made>): string {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
  const text = [...valid.values()]
    .map(({ vector }) => vector)
    .find(({ encoding, envelope }) => encoding === "text" && envelope.length % 4 !== 0)?.envelope as string
  return text.slice(0, -1) + alphabet[alphabet.indexOf(text.at(-1) as string) + 1]
}

/** What a maker who knows the DEK can seal: bytes as segment `counter` with any last flag. */
function sealBytes(made: Made, plaintext: Uint8Array, counter = 0, last = 1): Buffer {
  const { immutable } = take(made.envelope)
  const digest = digestOf((made.vector.expect as { context: Record<string, string> }).context)
  const key = keysOf(immutable, made.dek, digest).subarray(0, 32)
  const iv = Buffer.alloc(12)
  iv.writeUInt32BE(counter, 7)
  iv.writeUInt8(last, 11)
  const cipher = createCipheriv("aes-256-gcm", key, iv)
  const noAad = Buffer.from("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "hex")
  cipher.setAAD(Buffer.concat([immutable, digest, noAad]))
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()])
}

/** Segment 0 of a payload of one segment, sealed again with another last flag. */
function resealed(made: Made, sealed: Buffer, last: number): Buffer {
  const plaintext = Buffer.from((made.vector.expect as { plaintext: string }).plaintext, "hex")
  if (plaintext.length !== sealed.length - 16) throw new Error("not a payload of one segment")
  return sealBytes(made, plaintext, 0, last)
}

function sealEmpty(made: Made, counter: number): Buffer {
  return sealBytes(made, Buffer.alloc(0), counter, 1)
}
