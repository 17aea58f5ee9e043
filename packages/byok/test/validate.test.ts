import { type Check, validateCmk, worstCheck } from "@keyfold/byok"
import { expect, test } from "vitest"
import { awsLab, azureLab, bindingOf, gcpLab, kmsCalls, MATCH } from "./clouds.ts"

const LABS = [
  ["aws", awsLab, "pass"],
  ["azure", azureLab, "pass"],
  ["gcp", gcpLab, "warn"], // it is not rotated
] as const

test.each(LABS)(
  "%s: a sound key passes within twelve calls, each check told as it ends",
  async (_, start, result) => {
    const lab = await start()
    const seen: Check[] = []
    const binding = bindingOf(lab.emulator.createKey())
    const report = await validateCmk(lab.provider, binding, { onCheck: (check) => seen.push(check) })
    expect(report).toMatchObject({
      result,
      calls: kmsCalls(lab.emulator),
      maxCalls: 12,
      keyId: binding.keyId,
    })
    expect(report.calls).toBeLessThanOrEqual(6)
    expect(seen).toEqual(report.checks)
    expect(new Set(seen.map(({ id }) => id)).size).toBe(17)
    for (const { status, message } of seen) expect([status, message]).not.toEqual([status, ""])
    expect(worstCheck(report)).toBeUndefined()
    expect(report.canary).toMatchObject({ keyId: binding.keyId })
    await lab.close()
  },
)

test.each(LABS)("%s: its canary opens next time, for this tenant only", async (_, start, result) => {
  const lab = await start()
  const binding = bindingOf(lab.emulator.createKey())
  const { canary } = await validateCmk(lab.provider, binding)
  const canaries = canary === undefined ? [] : [canary]
  const again = await validateCmk(lab.provider, { ...binding, canaries })
  expect([again.result, again.maxCalls]).toEqual([result, 14])
  expect(again.checks.at(-1)).toMatchObject({ id: "former-versions", status: "pass" })
  for (const change of [{ owner: "other" }, { match: { ...MATCH, data_type: "ssn" } }]) {
    const foreign = await validateCmk(lab.provider, { ...binding, canaries, ...change })
    expect(worstCheck(foreign)).toMatchObject({ reason: "FORMER_VERSION_SHUT", code: "DECRYPTION_FAILED" })
  }
  const elsewhere = await validateCmk(lab.provider, { ...binding, canaries }, { environment: "staging" })
  expect(worstCheck(elsewhere)?.reason).toBe("FORMER_VERSION_SHUT")
  await lab.close()
})

test("each version that was ever validated must still open, two calls each at most", async () => {
  const { emulator, provider, close } = await gcpLab()
  const binding = bindingOf(emulator.createKey())
  const canaries = []
  for (let i = 0; i < 3; i++) {
    const { canary } = await validateCmk(provider, binding)
    if (canary !== undefined) canaries.push(canary)
    emulator.rotate(binding.keyId)
  }
  const report = await validateCmk(provider, { ...binding, canaries })
  expect(report).toMatchObject({ result: "warn", calls: 8, maxCalls: 18 })
  emulator.setState(binding.keyId, "DISABLED", 2)
  const { checks, canary } = await validateCmk(provider, { ...binding, canaries })
  expect(checks.filter(({ id }) => id === "former-versions").map(({ status }) => status)).toEqual([
    "pass",
    "fail",
    "pass",
  ])
  expect(canary).toBeUndefined()
  await close()
})

test("a former key of which nothing was kept is looked at, and not taken for sound", async () => {
  const { emulator, provider, close } = await awsLab()
  const [before, now] = [emulator.createKey(), emulator.createKey()]
  const entry = {
    match: MATCH,
    pairs: ["organization_id"],
    provider: "aws-kms",
    keyId: before,
    owner: "acme",
  }
  const rest = { options: {}, publicKey: false, companion: undefined, leaseTtlMs: 0, lastVersion: undefined }
  const history = [{ ...entry, ...rest, closedAt: "2026-01-01T00:00:00.000Z" }]
  const reasonNow = async () => {
    const { checks } = await validateCmk(provider, bindingOf(now, { history }))
    return checks.at(-1)?.reason
  }
  expect(await reasonNow()).toBe("FORMER_KEY_UNPROVEN")
  emulator.setState(before, "PendingDeletion")
  expect(await reasonNow()).toBe("FORMER_VERSION_SHUT")
  await close()
})

test("each region of a multi-Region key is tried by itself, six calls each", async () => {
  const { emulator, provider, close } = await awsLab()
  const keyId = emulator.createKey({ multiRegion: true })
  const replicaKeyIds = ["us-east-1", "eu-west-1"].map((region) => emulator.replicateKey(keyId, region))
  const binding = bindingOf(keyId, { options: { replicaKeyIds } })
  const report = await validateCmk(provider, binding)
  expect(report).toMatchObject({ result: "pass", calls: 18, maxCalls: 24 })
  expect(report.checks.filter(({ id }) => id === "unwrap").map(({ region }) => region)).toEqual([
    null,
    "us-east-1",
    "eu-west-1",
  ])
  emulator.inject({ kind: "server-error" }, { keyId })
  const out = await validateCmk(provider, binding)
  expect(out.checks.find(({ status }) => status === "fail")).toMatchObject({ id: "describe", region: null })
  expect(out.checks.find(({ id, region }) => id === "wrap" && region === "us-east-1")?.status).toBe("pass")
  await close()
})

test("a symmetric key of a Managed HSM needs no algorithm to be named", async () => {
  const { emulator, provider, close } = await azureLab()
  const report = await validateCmk(provider, bindingOf(emulator.createKey({ service: "hsm" })))
  expect(report).toMatchObject({ result: "pass", calls: 4 })
  await close()
})

test("an alias is resolved once, and the report names its key", async () => {
  const { emulator, provider, close } = await awsLab()
  const keyId = emulator.createKey()
  const report = await validateCmk(provider, bindingOf(emulator.createAlias("alias/customer", keyId)))
  expect(report).toMatchObject({ result: "pass", keyId, calls: 7 })
  await close()
})

test.each(LABS)("%s: an abort ends it at once, and nothing goes on", async (_, start) => {
  const lab = await start()
  lab.emulator.inject({ kind: "latency", ms: 150 })
  const abort = new AbortController()
  const seen: string[] = []
  const run = validateCmk(lab.provider, bindingOf(lab.emulator.createKey()), {
    signal: abort.signal,
    onCheck({ id }) {
      seen.push(id)
      if (id === "describe") setTimeout(() => abort.abort(), 20)
    },
  })
  await expect(run).rejects.toMatchObject({ code: "ABORTED" })
  await expect.poll(() => lab.emulator.openConnections()).toBe(0)
  const calls = kmsCalls(lab.emulator)
  await new Promise((resolve) => setTimeout(resolve, 200))
  expect([kmsCalls(lab.emulator), seen.includes("wrap")]).toEqual([calls, false])
  await expect(
    validateCmk(lab.provider, bindingOf(lab.emulator.createKey()), { signal: AbortSignal.abort() }),
  ).rejects.toMatchObject({ code: "ABORTED" })
  await lab.close()
})

test("its time bounds the whole: what was not reached says so", async () => {
  const { emulator, provider, close } = await gcpLab()
  emulator.inject({ kind: "hang" }, { operations: ["Decrypt"] })
  const started = performance.now()
  const report = await validateCmk(provider, bindingOf(emulator.createKey()), { deadlineMs: 2_000 })
  expect(performance.now() - started).toBeLessThan(4_500)
  expect(worstCheck(report)).toMatchObject({ id: "unwrap", reason: "TIMED_OUT", code: "TIMEOUT" })
  expect(report.checks.find(({ id }) => id === "binding")?.status).toBe("skipped")
  await expect.poll(() => emulator.openConnections()).toBe(0)
  await close()
})

test("a cloud that ignores the binding is caught", async () => {
  const { emulator, provider, close } = await awsLab()
  const careless = {
    ...provider,
    kek(keyId: string, options: Readonly<Record<string, unknown>>) {
      const kek = provider.kek(keyId, options)
      const fixed = { binding: new Uint8Array(71), covered: [], owner: "" }
      return {
        ...kek,
        wrap: (...[secret, , call]: Parameters<typeof kek.wrap>) => kek.wrap(secret, fixed, call),
        unwrap: (...[record, , call]: Parameters<typeof kek.unwrap>) => kek.unwrap(record, fixed, call),
      }
    },
  }
  const report = await validateCmk(careless, bindingOf(emulator.createKey()))
  expect(worstCheck(report)).toMatchObject({ id: "binding", reason: "BINDING_NOT_ENFORCED" })
  await close()
})

test("a denied action comes with the policy to add, for whom it was asked for", async () => {
  const { emulator, provider, close } = await awsLab()
  const keyId = emulator.createKey()
  emulator.deny("key-policy", "kms:Decrypt", keyId)
  const principal = "arn:aws:iam::111122223333:role/keyfold"
  const report = await validateCmk(provider, bindingOf(keyId), { principal })
  const { policy, propagationSeconds } = worstCheck(report) as Check
  expect(JSON.parse(policy as string).Statement[0]).toEqual({
    Sid: "KeyfoldUse",
    Effect: "Allow",
    Action: ["kms:Encrypt", "kms:Decrypt"],
    Principal: { AWS: principal },
    Resource: "*",
    Condition: { StringEquals: { "kms:EncryptionContext:organization_id": MATCH.organization_id } },
  })
  expect(propagationSeconds).toBe(300)
  await close()
})

test("what is no binding or no option is thrown, before any call", async () => {
  const { emulator, provider, close } = await awsLab()
  const keyId = emulator.createKey()
  await expect(validateCmk(provider, bindingOf(keyId, { match: {} }))).rejects.toMatchObject({
    code: "INVALID_CONTEXT",
  })
  for (const deadlineMs of [0, 1.5, 600_001]) {
    await expect(validateCmk(provider, bindingOf(keyId), { deadlineMs })).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
    })
  }
  expect(emulator.calls).toEqual([])
  const onCheck = () => {
    throw new Error("an observer")
  }
  expect((await validateCmk(provider, bindingOf(keyId), { onCheck })).result).toBe("pass")
  await close()
})
