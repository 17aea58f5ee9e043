import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { createKeyfold, KeyfoldError } from "@keyfold/core"
import Ajv from "ajv/dist/2020.js"
import { describe, expect, test } from "vitest"
import { vectorRouter } from "../vector-keks.ts"
import type { Vector, VectorFile } from "../vector-types.ts"

const folder = join(import.meta.dirname, "../envelope-v1")
const names = readdirSync(folder).filter((name) => name.endsWith(".json") && name !== "schema.json")
const read = (name: string) => readFileSync(join(folder, name), "utf8")
const files = names.map((name) => ({ name, file: JSON.parse(read(name)) as VectorFile }))
const all = files.flatMap(({ file }) => file.vectors)

test("every vector file is the one that was frozen", () => {
  const found = names.map((name) => `${createHash("sha256").update(read(name)).digest("hex")}  ${name}`)
  expect(found.sort()).toEqual(read("SHA256SUMS").trim().split("\n").sort())
})

test("every vector file keeps the schema, and explains each flag it uses", () => {
  const validate = new Ajv.default({ allErrors: true }).compile(JSON.parse(read("schema.json")))
  for (const { name, file } of files) {
    expect(validate(file), `${name}: ${JSON.stringify(validate.errors)}`).toBe(true)
    const used = new Set(file.vectors.flatMap(({ flags }) => flags))
    expect([...used].sort()).toEqual(Object.keys(file.flags).sort())
  }
})

test("at least 200 vectors, 60 % of them hostile, ids distinct", () => {
  const hostile = all.filter(({ expect }) => "code" in expect).length
  expect(all.length).toBeGreaterThanOrEqual(200)
  expect(hostile / all.length).toBeGreaterThanOrEqual(0.6)
  expect(new Set(all.map(({ id }) => id)).size).toBe(all.length)
})

describe.each(files)("$name", ({ file }) => {
  test.each(file.vectors.map((vector) => [vector.id, vector] as const))("%s", async (_, vector) => {
    const found = await run(file, vector)
    expect(found).toEqual(vector.expect)
  })
})

async function run(file: VectorFile, vector: Vector): Promise<Vector["expect"]> {
  const keyfold = createKeyfold({ router: vectorRouter(file.keks, vector.candidates, vector.environment) })
  const envelope =
    vector.encoding === "text" ? vector.envelope : new Uint8Array(Buffer.from(vector.envelope, "hex"))
  const options = {
    ...(vector.context !== null && { context: vector.context }),
    ...(vector.authorize !== null && { authorize: () => vector.authorize as boolean }),
    ...(vector.aad !== null && { aad: new Uint8Array(Buffer.from(vector.aad, "hex")) }),
  }
  try {
    const { plaintext, context } = await open()
    return { plaintext: Buffer.from(plaintext).toString("hex"), context: { ...context } }
  } catch (error) {
    if (error instanceof KeyfoldError) return { code: error.code }
    throw error
  }
  async function open() {
    if (vector.operation === "decrypt-data-key") {
      const { key, context } = await keyfold.decryptDataKey(envelope, options)
      return { plaintext: key, context }
    }
    if (vector.operation === "decrypt") return await keyfold.decrypt(envelope, options)
    const [start, end] = vector.range as [number, number | null]
    return await keyfold.decryptRange(envelope as Uint8Array, start, end ?? undefined, options)
  }
}
