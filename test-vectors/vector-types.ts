/** The shape of a vector file; schema.json says the same to other languages. All byte strings are lowercase hex. */
export type VectorFile = {
  readonly format: "keyfold envelope version 1"
  /** What each flag means, once. */
  readonly flags: Readonly<Record<string, string>>
  readonly keks: Readonly<Record<string, VectorKek>>
  readonly vectors: readonly Vector[]
}

export type VectorKek =
  | {
      readonly provider: "managed"
      readonly keyId: string
      readonly versions: Readonly<Record<string, string>>
    }
  | {
      readonly provider: string
      readonly keyId: string
      readonly algorithm: "RSA-OAEP-256"
      readonly privateKey: string
    }
  | {
      readonly provider: string
      readonly keyId: string
      readonly algorithm: "A256GCM" | "A256KW"
      readonly key: string
    }
  /** A KMS whose ciphertext no one else can open: what it answers, by ciphertext and B. */
  | {
      readonly provider: string
      readonly keyId: string
      readonly algorithm: "kms"
      readonly keyVersion: number
      readonly answers: readonly {
        readonly ciphertext: string
        readonly b: string
        readonly secret: string
      }[]
    }

export type VectorCandidate = {
  /** A name in `keks`. */
  readonly kek: string
  /** Names of the covered pairs. */
  readonly pairs: readonly string[]
  readonly owner: string
  readonly companion: string | null
  readonly lastVersion: number | null
}

export type Vector = {
  readonly id: string
  readonly flags: readonly string[]
  readonly comment: string
  readonly operation: "decrypt" | "decrypt-data-key" | "decrypt-range"
  /** Of the plaintext, half-open; end null means to the end. Only for decrypt-range. */
  readonly range: readonly [number, number | null] | null
  /** What the caller gives; null where it gives none. */
  readonly context: Readonly<Record<string, string>> | null
  /** What the caller's authorize answers; null where it gives none. */
  readonly authorize: boolean | null
  readonly aad: string | null
  readonly candidates: readonly VectorCandidate[]
  /** Environment of lease scopes. */
  readonly environment: string
  readonly encoding: "hex" | "text"
  readonly envelope: string
  readonly expect:
    | { readonly plaintext: string; readonly context: Readonly<Record<string, string>> }
    | { readonly code: string }
}
