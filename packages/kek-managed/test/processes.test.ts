import { execFile, spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, expect, test } from "vitest"
import { createManagedProvider } from "../src/index.ts"
import { sqliteStore } from "../src/sqlite-store.ts"

const folder = mkdtempSync(join(tmpdir(), "keyfold-processes-"))
afterAll(() => rmSync(folder, { recursive: true }))
const root = { key: new Uint8Array(32).fill(1) }
const worker = join(import.meta.dirname, "process-worker.ts")

test("8 processes and 1,000 pairs make 1,000 KEKs, and each process opens every other's wraps", {
  timeout: 120_000,
}, async () => {
  const [processes, pairs] = [8, 1000]
  const runs = await Promise.all(
    Array.from({ length: processes }, (_, i) =>
      promisify(execFile)(process.execPath, [
        "--disable-warning=ExperimentalWarning",
        worker,
        folder,
        String(i),
        String(processes),
        String(pairs),
      ]),
    ),
  )
  expect(runs.map(({ stdout }) => Number(stdout))).toEqual(Array(processes).fill(processes * pairs))
  const ids = new Set<string>()
  for (let i = 0; i < processes; i++) {
    for (const { keyId } of JSON.parse(readFileSync(join(folder, `made-${i}.json`), "utf8"))) ids.add(keyId)
  }
  expect(ids.size).toBe(pairs)
  const managed = await createManagedProvider({
    store: sqliteStore(join(folder, "keks.db")),
    root,
    environment: "test",
  })
  let listed = 0
  for await (const _ of managed.list()) listed++
  expect(listed).toBe(pairs)
  await managed.close()
})

test("killed at any moment, a store opens with the old root key or the new one, and loses no KEK", {
  timeout: 120_000,
}, async () => {
  const path = join(folder, "killed.db")
  const script = `
    const { createManagedProvider } = await import(${JSON.stringify(join(import.meta.dirname, "../src/index.ts"))})
    const { sqliteStore } = await import(${JSON.stringify(join(import.meta.dirname, "../src/sqlite-store.ts"))})
    const keys = [1, 2].map((n) => ({ key: new Uint8Array(32).fill(n) }))
    let at = 0
    const open = (root) => createManagedProvider({ store: sqliteStore(${JSON.stringify(path)}), root, environment: "test" })
    const managed = await open(keys[0]).catch(() => { at = 1; return open(keys[1]) })
    for (let i = 0; ; i++) {
      const { keyId } = await managed.kekFor({ name: "n", value: String(Math.random()) })
      process.stdout.write(keyId + "\\n")
      if (i % 3 === 0) await managed.rotate(keyId)
      await managed.changeRoot(keys[(at = 1 - at)])
    }`
  const acknowledged = new Set<string>()
  let waitedFor = 0
  for (let round = 0; round < 25; round++) {
    const enough = 1 + Math.floor(Math.random() * 6)
    waitedFor += enough
    const run = spawn(process.execPath, [
      "--disable-warning=ExperimentalWarning",
      "--input-type=module",
      "-e",
      script,
    ])
    let printed = ""
    let failed = ""
    run.stdout.on("data", (chunk) => {
      const before = printed.split("\n").length - 1
      printed += chunk
      const after = printed.split("\n").length - 1
      // After so many KEKs, however long the machine takes for them, and then at any moment.
      if (before < enough && after >= enough) setTimeout(() => run.kill("SIGKILL"), Math.random() * 30)
    })
    run.stderr.on("data", (chunk) => {
      failed += chunk
    })
    await new Promise((resolve) => run.on("close", resolve))
    expect(failed).toBe("")
    for (const keyId of printed.split("\n").slice(0, -1)) acknowledged.add(keyId)
  }
  expect(acknowledged.size).toBeGreaterThanOrEqual(waitedFor)
  const open = (n: number) =>
    createManagedProvider({
      store: sqliteStore(path),
      root: { key: new Uint8Array(32).fill(n) },
      environment: "test",
    })
  const managed = await open(1).catch(() => open(2))
  const found = new Set<string>()
  for await (const { keyId } of managed.list()) found.add(keyId) // it opens each row's seal
  expect([...acknowledged].filter((keyId) => !found.has(keyId))).toEqual([])
  await managed.close()
})
