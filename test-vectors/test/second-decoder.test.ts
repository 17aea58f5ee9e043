import { spawnSync } from "node:child_process"
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, onTestFinished, type TestContext, test } from "vitest"
import type { Vector, VectorFile } from "../vector-types.ts"

const script = join(import.meta.dirname, "../decoder/decode.py")
const folder = join(import.meta.dirname, "../envelope-v1")
const names = readdirSync(folder).filter((name) => name.endsWith(".json") && name !== "schema.json")

test("the second decoder opens every valid vector and refuses every hostile one", (context) => {
  const all = names.flatMap((name) => read(name).vectors)
  const hostile = all.filter(({ expect }) => "code" in expect).length
  const valid = all.length - hostile
  expect(decode(context, [])).toEqual({
    status: 0,
    lines: [`${valid} valid opened, ${hostile} hostile refused, 0 wrong, in ${names.length} files`],
  })
})

const changes: readonly [
  what: string,
  name: string,
  id: string,
  change: (vector: Vector) => Partial<Vector>,
][] = [
  [
    "a byte of an expected plaintext",
    "valid.json",
    "valid-aad",
    ({ expect }) => ({ expect: { ...opened(expect), plaintext: lastByteChanged(opened(expect).plaintext) } }),
  ],
  [
    "an expected context",
    "valid.json",
    "valid-aad",
    ({ expect }) => ({ expect: { ...opened(expect), context: { name: "another" } } }),
  ],
  [
    "a byte of an envelope",
    "valid.json",
    "valid-all-10",
    ({ envelope }) => ({ envelope: lastByteChanged(envelope) }),
  ],
  ["an expected code", "hostile-mac.json", "mac-first", () => ({ expect: { code: "MALFORMED_ENVELOPE" } })],
]

test.for(changes)("the second decoder notices that %s was changed", ([, name, id, change], context) => {
  const file = read(name)
  const vectors = file.vectors.map((vector) => (vector.id === id ? { ...vector, ...change(vector) } : vector))
  const temporary = mkdtempSync(join(tmpdir(), "keyfold-vectors-"))
  onTestFinished(() => rmSync(temporary, { recursive: true }))
  const path = join(temporary, name)
  writeFileSync(path, JSON.stringify({ ...file, vectors }))
  const { status, lines } = decode(context, [path])
  expect(status).toBe(1)
  expect(lines).toEqual([
    expect.stringMatching(new RegExp(`^${name}: ${id}: expected .+, found .+`)),
    expect.stringMatching(/ 1 wrong, in 1 files$/),
  ])
})

function read(name: string): VectorFile {
  return JSON.parse(readFileSync(join(folder, name), "utf8")) as VectorFile
}

function opened(expectation: Vector["expect"]) {
  if ("code" in expectation) throw new Error("this vector is not a valid one")
  return expectation
}

function lastByteChanged(hex: string): string {
  const bytes = Buffer.from(hex, "hex")
  bytes.writeUInt8((bytes.at(-1) ?? 0) ^ 1, bytes.length - 1)
  return bytes.toString("hex")
}

function decode(context: TestContext, files: readonly string[]) {
  const python = findPython()
  if (python === undefined) return context.skip("no python3-cryptography")
  const { error, status, stdout, stderr } = spawnSync(python, [script, ...files], { encoding: "utf8" })
  if (error !== undefined) throw error
  expect(stderr).toBe("")
  return { status, lines: stdout.trimEnd().split("\n") }
}

/** An interpreter that has `cryptography`; undefined only where none has it. One that is there but broken is an error. */
function findPython(): string | undefined {
  for (const command of ["/usr/bin/python3", "python3"]) {
    const { error, status, stderr } = spawnSync(command, ["-c", "import cryptography"], { encoding: "utf8" })
    if (status === 0) return command
    const absent =
      error === undefined ? /No module named 'cryptography'/.test(stderr) : /ENOENT/.test(error.message)
    if (!absent) throw error ?? new Error(`${command}: ${stderr}`)
  }
  return undefined
}
