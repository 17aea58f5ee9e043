/** One of several processes on one store: wraps under every pair, and then opens what the others wrapped. */
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout } from "node:timers/promises"
import type { Pair, WrapRecord } from "@keyfold/core"
import { createManagedProvider } from "../src/index.ts"
import { sqliteStore } from "../src/sqlite-store.ts"

const [folder, name, processes, pairs] = process.argv.slice(2) as [string, string, string, string]
const path = (file: string) => join(folder, file)
const binding = new Uint8Array(71).fill(9)
const all = Array.from({ length: Number(processes) }, (_, i) => String(i))
const everyone = async (file: string) => {
  writeFileSync(path(`${file}-${name}`), "")
  while (!all.every((other) => existsSync(path(`${file}-${other}`)))) await setTimeout(1)
}

await everyone("ready")
const root = { key: new Uint8Array(32).fill(1) }
const managed = await createManagedProvider({
  store: sqliteStore(path("keks.db")),
  root,
  environment: "test",
})
const made: { value: string; keyId: string; record: { keyVersion: number; wrapped: string } }[] = []
for (let i = 0; i < Number(pairs); i++) {
  const pair: Pair = { name: "n", value: `${i}` }
  const kek = await managed.kekFor(pair)
  const { keyVersion, wrapped } = await kek.wrap(
    new Uint8Array(32).fill(7),
    { binding, covered: [pair], owner: "" },
    {},
  )
  made.push({
    value: pair.value,
    keyId: kek.keyId,
    record: { keyVersion, wrapped: Buffer.from(wrapped).toString("hex") },
  })
}
writeFileSync(path(`made-${name}.json`), JSON.stringify(made))
await everyone("done")
let opened = 0
for (const other of all) {
  for (const { keyId, record } of JSON.parse(
    readFileSync(path(`made-${other}.json`), "utf8"),
  ) as typeof made) {
    const wrapped = new Uint8Array(Buffer.from(record.wrapped, "hex"))
    const full: WrapRecord = { keyVersion: record.keyVersion, leased: false, wrapped }
    const secret = await managed.kek(keyId).unwrap(full, { binding, covered: [], owner: "" }, {})
    if (secret.every((byte) => byte === 7)) opened++
  }
}
await managed.close()
console.log(opened)
