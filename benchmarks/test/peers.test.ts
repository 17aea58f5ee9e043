import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { PEERS } from "../src/peers/peers.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "keyfold-peers-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

test.each(PEERS)("$name gives back what it encrypted, under one pair and under three", async ({ open }) => {
  const plaintext = Buffer.alloc(5000, "more than one frame ")
  for (const pairs of [1, 3]) {
    const cipher = await open(pairs, join(folder, "keks.db"))
    const sealed = await cipher.encrypt(plaintext, 7)
    expect(plaintext.equals(cipher.plaintextOf(await cipher.decrypt(sealed, 7)))).toBe(true)
    await cipher.close()
  }
})

const bound = PEERS.filter(({ name }) => !/^(node:crypto|WorkOS)/.test(name))
test.each(bound)("$name refuses what was encrypted under another context", async ({ open }) => {
  const cipher = await open(1, join(folder, "keks.db"))
  const sealed = await cipher.encrypt(Buffer.from("text"), 7)
  await expect(async () => cipher.decrypt(sealed, 8)).rejects.toThrow()
  await cipher.close()
})
