/** What the valid vectors cover. */
import { generateKeyPairSync, randomBytes } from "node:crypto"
import type { VectorCandidate, VectorKek } from "../vector-types.ts"
import type { Spec } from "./valid.ts"

export const FLAGS: Readonly<Record<string, string>> = {
  valid: "opens, to the plaintext and context given",
  policy: "about all and any, shares and the any rule",
  context: "about the key context, embedded or given",
  embedded: "the envelope embeds its context",
  aad: "about the caller's additional data",
  segments: "more than one segment, or the edge of one",
  "data-key": "kind 2",
  range: "a part of the plaintext is asked for",
  text: "the text form",
  managed: "about the bytes of a managed wrap",
  cloud: "a wrap of a cloud KMS",
  companion: "a public-key wrap and its companion",
  lease: "a wrap made under a lease",
  history: "a candidate that is not of today's route, or bounded by a last version",
  header: "a header field that no writer sets",
  limits: "a limit of the format",
  canonical: "a second encoding of what has one",
  version: "an unknown version, suite or kind",
  cut: "bytes are missing, or follow",
  mac: "about the MAC of the header",
  wraps: "a wrap altered, moved, copied, or of another envelope",
  match: "a wrap that equals no candidate",
  payload: "a segment altered, moved, copied or cut",
}

const arn = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
const rsa = () =>
  generateKeyPairSync("rsa", {
    modulusLength: 2048,
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
    publicKeyEncoding: { type: "spki", format: "pem" },
  }).privateKey
const hex = (length: number) => randomBytes(length).toString("hex")

export function makeKeks(): Record<string, VectorKek> {
  const keks: Record<string, VectorKek> = {
    aws: { provider: "aws-kms", keyId: arn, algorithm: "kms", keyVersion: 0, answers: [] },
    gcp: {
      provider: "gcp-kms",
      keyId: "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k",
      algorithm: "kms",
      keyVersion: 7,
      answers: [],
    },
    azure: {
      provider: "azure-keyvault",
      keyId: "https://example.vault.azure.net/keys/k/0123456789abcdef0123456789abcdef",
      algorithm: "RSA-OAEP-256",
      privateKey: rsa(),
    },
    hsmGcm: {
      provider: "azure-keyvault",
      keyId: "https://example.managedhsm.azure.net/keys/g/1",
      algorithm: "A256GCM",
      key: hex(32),
    },
    hsmKw: {
      provider: "azure-keyvault",
      keyId: "https://example.managedhsm.azure.net:8443/keys/w/1",
      algorithm: "A256KW",
      key: hex(32),
    },
    companion: { provider: "managed", keyId: hex(16), versions: { 1: hex(32) } },
    rotated: { provider: "managed", keyId: hex(16), versions: { 1: hex(32), 2: hex(32), 3: hex(32) } },
  }
  for (let i = 0; i < 10; i++)
    keks[`kek${i}`] = { provider: "managed", keyId: hex(16), versions: { 1: hex(32) } }
  return keks
}

/** A candidate of one managed KEK, or of what else is given. */
export function candidate(
  kek: string,
  pairs: readonly string[],
  more: Partial<VectorCandidate> = {},
): VectorCandidate {
  return { kek, pairs, owner: "", companion: null, lastVersion: null, ...more }
}

export const one = { organization_id: "org_1" }
export const two = { organization_id: "org_1", data_type: "ssn" }
export const oneKek = [candidate("kek0", ["organization_id"])]
export const twoKeks = [candidate("kek0", ["organization_id"]), candidate("kek1", ["data_type"])]
export const owned = { owner: "org_1" }
const azure = candidate("azure", ["organization_id"], { ...owned, companion: "companion" })

function pairs(count: number): { context: Record<string, string>; candidates: VectorCandidate[] } {
  const names = Array.from({ length: count }, (_, i) => `name_${i}`)
  return {
    context: Object.fromEntries(names.map((name, i) => [name, `value ${i}`])),
    candidates: names.map((name, i) => candidate(`kek${i}`, [name])),
  }
}

export function validSpecs(): Spec[] {
  const specs: Spec[] = []
  const add = (id: string, flags: string[], comment: string, rest: Omit<Spec, "id" | "flags" | "comment">) =>
    specs.push({ id: `valid-${id}`, flags: ["valid", ...flags], comment, ...rest })

  for (let count = 1; count <= 10; count++) {
    for (const policy of ["all", "any"] as const) {
      add(`${policy}-${count}`, ["policy"], `${count} managed wraps under ${policy}`, {
        ...pairs(count),
        policy,
      })
    }
  }
  for (const length of [0, 1, 15, 16, 17, 4095, 4096, 4097, 8191, 8192, 8193, 12_289]) {
    const plaintext = randomBytes(length)
    add(`segments-${length}`, ["segments"], `${length} bytes in segments of 4 KiB`, {
      context: one,
      candidates: oneKek,
      plaintext,
      segmentBytes: 4096,
    })
  }
  for (let exponent = 13; exponent <= 20; exponent++) {
    add(`exponent-${exponent}`, ["segments", "limits"], `segments of 2^${exponent} bytes`, {
      context: one,
      candidates: oneKek,
      segmentBytes: 2 ** exponent,
    })
  }
  add("aad", ["aad"], "additional data", { context: two, candidates: twoKeks, aad: Buffer.from("row 7") })
  add("aad-empty", ["aad"], "empty additional data is the same as none", {
    context: two,
    candidates: twoKeks,
    aad: new Uint8Array(0),
  })
  add("aad-64k", ["aad", "limits"], "as much additional data as is allowed", {
    context: one,
    candidates: oneKek,
    aad: Buffer.alloc(65_536, 0xa5),
  })
  const plaintext = randomBytes(9000)
  for (const range of [
    [0, 9000],
    [0, 1],
    [4095, 4097],
    [4096, 8192],
    [8192, null],
    [8999, 9500],
    [9000, 9000],
    [20_000, null],
    [5, 5],
  ] as const) {
    add(
      `range-${range[0]}-${range[1] ?? "end"}`,
      ["range", "segments"],
      "a range of a payload of 9,000 bytes in segments of 4 KiB",
      { context: one, candidates: oneKek, plaintext, segmentBytes: 4096, operation: "decrypt-range", range },
    )
  }
  add("embedded", ["embedded"], "an embedded context that equals the given one", {
    context: two,
    candidates: twoKeks,
    embed: true,
  })
  add("authorized", ["embedded"], "an embedded context that authorize allows", {
    context: two,
    candidates: twoKeks,
    embed: true,
    authorize: true,
  })
  add("data-key", ["data-key"], "a data key", {
    context: two,
    candidates: twoKeks,
    operation: "decrypt-data-key",
  })
  add("data-key-authorized", ["data-key", "embedded"], "a data key whose context authorize allows", {
    context: two,
    candidates: twoKeks,
    operation: "decrypt-data-key",
    authorize: true,
  })
  add("data-key-any", ["data-key", "policy"], "a data key under any", {
    context: two,
    candidates: twoKeks,
    operation: "decrypt-data-key",
    policy: "any",
  })
  add("text", ["text"], "the text form", { context: one, candidates: oneKek, text: true })
  add("text-1", ["text"], "a text form of another length modulo 4", {
    context: one,
    candidates: oneKek,
    text: true,
    plaintext: randomBytes(15),
  })
  add("text-2", ["text"], "and of the third", {
    context: one,
    candidates: oneKek,
    text: true,
    plaintext: randomBytes(16),
  })

  const wide = "\u{1f511}"
  const odd = { "\uffff": "1", "\u{10000}": "2", Y: "3", Z: "4", a: "5", ä: "6" }
  const contexts: [string, string, Record<string, string>][] = [
    ["utf8-order", "names sort by UTF-8 bytes, not by UTF-16 units", odd],
    [
      "prototype",
      "names that objects inherit",
      JSON.parse('{"__proto__":"a","constructor":"b","toString":"c"}'),
    ],
    ["limits", "120 and 500 code points of four bytes", { [wide.repeat(120)]: wide.repeat(500) }],
    ["composed", "NFC", { "caf\u00e9": "\u00e9" }],
    ["decomposed", "NFD, another context", { "cafe\u0301": "e\u0301" }],
    ["controls", "control characters and white space are data", { "a b\t": "\u0001\n\r\u007f\u2028" }],
    ["case", "case counts", { A: "a", a: "A" }],
  ]
  for (const [id, comment, context] of contexts) {
    const names = Object.keys(context)
    add(`context-${id}`, ["context"], comment, {
      context,
      candidates: names.map((name, i) => candidate(`kek${i}`, [name])),
      embed: true,
    })
  }

  add("aws", ["cloud"], "an AWS KMS key beside a managed KEK", {
    context: two,
    candidates: [candidate("aws", ["organization_id"], owned), candidate("kek1", ["data_type"])],
  })
  add("gcp", ["cloud"], "a Google Cloud KMS key, version 7", {
    context: two,
    candidates: [candidate("gcp", ["organization_id"], owned), candidate("kek1", ["data_type"])],
  })
  add("cmk-two-pairs", ["cloud"], "one CMK covers two pairs", {
    context: { ...two, user: "u" },
    candidates: [candidate("aws", ["organization_id", "user"], owned), candidate("kek1", ["data_type"])],
  })
  add("cmk-any", ["cloud", "policy"], "any over one CMK that covers all", {
    context: two,
    candidates: [candidate("aws", ["organization_id", "data_type"], owned)],
    policy: "any",
  })
  add("azure", ["cloud", "companion"], "Azure RSA with its companion", {
    context: two,
    candidates: [azure, candidate("kek1", ["data_type"])],
  })
  add("hsm-gcm", ["cloud"], "Azure Managed HSM, A256GCM", {
    context: two,
    candidates: [candidate("hsmGcm", ["organization_id"], owned), candidate("kek1", ["data_type"])],
  })
  add("hsm-kw", ["cloud"], "Azure Managed HSM, A256KW", {
    context: two,
    candidates: [candidate("hsmKw", ["organization_id"], owned), candidate("kek1", ["data_type"])],
  })
  for (const kek of ["aws", "gcp", "hsmGcm", "hsmKw"]) {
    add(`lease-${kek}`, ["lease", "cloud"], "under a lease", {
      context: two,
      candidates: [candidate(kek, ["organization_id"], owned), candidate("kek1", ["data_type"])],
      leased: [kek],
    })
  }
  add("lease-azure", ["lease", "cloud", "companion"], "under a lease, with its companion", {
    context: two,
    candidates: [azure, candidate("kek1", ["data_type"])],
    leased: ["azure"],
  })
  add("lease-any", ["lease", "policy"], "any under a lease", {
    context: one,
    candidates: [candidate("aws", ["organization_id"], owned)],
    leased: ["aws"],
    policy: "any",
  })

  add("rotated", ["history"], "version 3 of a KEK, at the last version allowed", {
    context: one,
    candidates: [candidate("rotated", ["organization_id"], { lastVersion: 3 })],
  })
  add("history", ["history"], "written under managed KEKs, read where a CMK is today's route", {
    context: two,
    candidates: [...twoKeks, candidate("aws", ["organization_id"], owned)],
    writeCount: 2,
  })
  add("history-any", ["history", "policy"], "any, written under managed KEKs before a binding", {
    context: two,
    candidates: [...twoKeks, candidate("aws", ["organization_id"], owned)],
    writeCount: 2,
    policy: "any",
  })
  return specs
}
