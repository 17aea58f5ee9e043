/** Vectors that others made. They are no part of the repository: see the first lines of third-party.test.ts. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"

const folder = process.env.KEYFOLD_VECTORS ?? join(import.meta.dirname, "../../../../shared/vectors")

/** Why a test that needs a file does not run, or undefined where the file is there. */
export function missing(file: string): string | undefined {
  return existsSync(join(folder, file)) ? undefined : `no third-party vectors: ${file}`
}

export function read(file: string): string {
  return readFileSync(join(folder, file), "utf8")
}

export const unhex = (hex: string) => Uint8Array.from(Buffer.from(hex, "hex"))
export const unbase64 = (text: string) => Uint8Array.from(Buffer.from(text, "base64"))

/** One AES-GCM case; `valid` says whether the tag holds. */
export type GcmCase = {
  readonly name: string
  readonly key: Uint8Array
  readonly iv: Uint8Array
  readonly aad: Uint8Array
  readonly plaintext: Uint8Array
  readonly ciphertext: Uint8Array
  readonly tag: Uint8Array
  readonly valid: boolean
}

/** A NIST CAVP response file: blocks of `Name = hex`, and `FAIL` where the tag does not hold. */
export function nistGcm(file: string): GcmCase[] {
  return read(file)
    .split(/\r?\n\r?\n/)
    .filter((block) => block.startsWith("Count"))
    .map((block) => {
      const field = (name: string) => unhex(new RegExp(`^${name} = ?([0-9a-f]*)`, "m").exec(block)?.[1] ?? "")
      return {
        name: block.slice(0, block.indexOf("\n")).trim(),
        key: field("Key"),
        iv: field("IV"),
        aad: field("AAD"),
        plaintext: field("PT"),
        ciphertext: field("CT"),
        tag: field("Tag"),
        valid: !block.includes("FAIL"),
      }
    })
}

/** The tests of a Wycheproof file, with the fields of their group. */
export function wycheproof<Case>(file: string): (Case & { tcId: number; result: string })[] {
  const { testGroups } = JSON.parse(read(file)) as { testGroups: { tests: object[] }[] }
  return testGroups.flatMap(({ tests, ...group }) => tests.map((test) => ({ ...group, ...test }) as never))
}

export function wycheproofGcm(file: string): GcmCase[] {
  type Fields = Record<"key" | "iv" | "aad" | "msg" | "ct" | "tag", string>
  return wycheproof<Fields>(file).map((test) => ({
    name: `tcId ${test.tcId}`,
    key: unhex(test.key),
    iv: unhex(test.iv),
    aad: unhex(test.aad),
    plaintext: unhex(test.msg),
    ciphertext: unhex(test.ct),
    tag: unhex(test.tag),
    valid: test.result === "valid",
  }))
}

/** One HKDF case. */
export type HkdfCase = {
  readonly name: string
  readonly ikm: Uint8Array
  readonly salt: Uint8Array
  readonly info: Uint8Array
  readonly length: number
  readonly okm: Uint8Array
  readonly valid: boolean
}

/** Blocks of `NAME = value`, as in the appendix of RFC 5869. */
export function rfcHkdf(file: string): HkdfCase[] {
  return read(file)
    .split(/^COUNT/m)
    .slice(1)
    .map((block, i) => {
      const field = (name: string) => new RegExp(`^${name} *= ?(\\w*)`, "m").exec(block)?.[1] ?? ""
      return {
        name: `${file} ${i + 1}`,
        ikm: unhex(field("IKM")),
        salt: unhex(field("salt")),
        info: unhex(field("info")),
        length: Number(field("L")),
        okm: unhex(field("OKM")),
        valid: true,
      }
    })
}

export function wycheproofHkdf(file: string): HkdfCase[] {
  type Fields = Record<"ikm" | "salt" | "info" | "okm", string> & { size: number }
  return wycheproof<Fields>(file).map((test) => ({
    name: `tcId ${test.tcId}`,
    ikm: unhex(test.ikm),
    salt: unhex(test.salt),
    info: unhex(test.info),
    length: test.size,
    okm: unhex(test.okm),
    valid: test.result === "valid",
  }))
}
