import {
  activateVerified,
  checkHealth,
  checkOneTenant,
  type HealthChange,
  verifyBinding,
  watchHealth,
} from "@keyfold/byok"
import { type Binding, parseBinding } from "@keyfold/router"
import { describe, expect, test } from "vitest"
import { awsLab, azureLab, gcpLab, kmsCalls } from "./clouds.ts"

const binding = (provider: string, keyId: string, change: Partial<Binding> = {}): Binding =>
  parseBinding({
    ...{ id: "b1", match: { organization_id: "org_1" }, provider, keyId, owner: "org_1", options: {} },
    ...{ publicKey: false, state: "pending", history: [] },
    ...change,
  }).binding

function store() {
  const saved: Binding[] = []
  return { saved, change: { managed: undefined, save: (each: Binding) => void saved.push(each) } }
}

describe("a binding becomes active by proof only", () => {
  test("pending, verified, active; the proof is kept", async () => {
    const { emulator, provider, close } = await gcpLab()
    const { saved, change } = store()
    const pending = binding("gcp-kms", emulator.createKey())
    await expect(activateVerified(pending, [], change)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
    const { binding: verified, report } = await verifyBinding(provider, pending, [], change)
    expect([verified.state, verified.canaries, saved]).toEqual(["verified", [report.canary], [verified]])
    const active = await activateVerified(verified, [], change)
    expect([active.state, saved.at(-1)]).toEqual(["active", active])

    emulator.rotate(active.keyId)
    const again = await verifyBinding(provider, active, [], change)
    expect(again.binding.state).toBe("active")
    expect(again.binding.canaries.map(({ keyVersion }) => keyVersion)).toEqual([1, 2])
    const same = await verifyBinding(provider, again.binding, [], change)
    expect(same.binding.canaries.map(({ keyVersion }) => keyVersion)).toEqual([1, 2])
    await close()
  })

  test("a failed validation changes nothing, and old proof does not do", async () => {
    const { emulator, provider, close } = await awsLab()
    const { saved, change } = store()
    const pending = binding("aws-kms", emulator.createKey())
    emulator.setState(pending.keyId, "Disabled")
    const failed = await verifyBinding(provider, pending, [], change)
    expect([failed.report.result, failed.binding.state, saved]).toEqual(["fail", "pending", []])
    emulator.setState(pending.keyId, "Enabled")
    const { binding: verified } = await verifyBinding(provider, pending, [], change)
    const [canary] = verified.canaries
    const aged = { ...verified, canaries: [{ ...canary, madeAt: "2026-01-01T00:00:00Z" }] } as Binding
    const ofAnother = { ...verified, keyId: emulator.createKey() }
    for (const each of [aged, ofAnother, { ...verified, canaries: [] }]) {
      await expect(activateVerified(each, [], change)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
    }
    await close()
  })

  test.each([
    ["the same key", "aws-kms", (arn: string) => arn, {}],
    ["its replica", "aws-kms", (arn: string) => arn.replace("eu-central-1", "us-east-1"), {}],
    [
      "another one, with the same replica",
      "aws-kms",
      (arn: string) => arn.replace(/mrk-.*/, `mrk-${"0".repeat(32)}`),
      { replicaKeyIds: [`arn:aws:kms:us-east-1:111122223333:key/mrk-${"a".repeat(32)}`] },
    ],
    [
      "the external id",
      "aws-kms",
      () => `arn:aws:kms:eu-central-1:111122223333:key/${"1".repeat(36)}`,
      {
        externalId: "tenant-1",
      },
    ],
    ["another version", "azure-keyvault", (kid: string) => kid.replace(/.{32}$/, "1".repeat(32)), {}],
  ])("one tenant's is no other's: %s", async (_, provider, other, options) => {
    const keyId =
      provider === "aws-kms"
        ? `arn:aws:kms:eu-central-1:111122223333:key/mrk-${"a".repeat(32)}`
        : `https://customer.vault.azure.net/keys/keyfold/${"0".repeat(32)}`
    const first = binding(provider, keyId, { options: { externalId: "tenant-1" } })
    const second = binding(provider, other(keyId), { id: "b2", owner: "org_2", options })
    expect(() => checkOneTenant(second, [first])).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    )
    expect(() => checkOneTenant({ ...second, owner: "org_1" }, [first])).not.toThrow()
    const removed = { ...first, state: "removed" } as const
    expect(() => checkOneTenant(second, [removed])).toThrow()
    const { provider: untouched, emulator, close } = await awsLab()
    await expect(
      verifyBinding({ ...untouched, id: provider }, second, [first], store().change),
    ).rejects.toMatchObject({ code: "INVALID_ARGUMENT" })
    expect(emulator.calls).toEqual([])
    await close()
  })
})

describe("health", () => {
  test("one call; an outage is no revocation", async () => {
    const { emulator, provider, close } = await azureLab({}, { disabledKeysWrap: true })
    const { binding: verified } = await verifyBinding(
      provider,
      binding("azure-keyvault", emulator.createKey()),
      [],
      store().change,
    )
    const health = async () => {
      const from = kmsCalls(emulator)
      const { state, reason, calls } = await checkHealth(provider, verified)
      expect(calls).toBe(kmsCalls(emulator) - from)
      expect(calls).toBeLessThanOrEqual(1)
      return [state, reason]
    }
    expect(await health()).toEqual(["healthy", "OK"])
    const over = emulator.inject({ kind: "server-error" }, { operations: ["unwrapKey"] })
    expect(await health()).toEqual(["unreachable", "UNREACHABLE"])
    over()
    emulator.deny("rbac", "unwrapKey", verified.keyId)
    expect(await health()).toEqual(["revoked", "PERMISSION_MISSING"])
    emulator.allow("rbac", "unwrapKey", verified.keyId)
    emulator.setState(verified.keyId, "disabled") // it still wraps here
    expect(await health()).toEqual(["revoked", "KEY_DISABLED"])
    emulator.setState(verified.keyId, "expired") // it still opens
    expect(await health()).toEqual(["healthy", "OK"])
    await close()
  })

  test("of a key that was never validated its state is asked", async () => {
    const { emulator, provider, close } = await gcpLab()
    const unproven = binding("gcp-kms", emulator.createKey(), { state: "active" })
    expect(await checkHealth(provider, unproven)).toMatchObject({ state: "healthy", calls: 1 })
    emulator.setState(unproven.keyId, "DESTROY_SCHEDULED")
    expect(await checkHealth(provider, unproven)).toMatchObject({ state: "revoked", calls: 1 })
    await close()
  })

  test("a watch tells changes only, takes one outage for none, and ends with its signal", async () => {
    const { emulator, provider, close } = await awsLab()
    const { binding: verified } = await verifyBinding(
      provider,
      binding("aws-kms", emulator.createKey()),
      [],
      store().change,
    )
    const active = { ...verified, state: "active" } as const
    const changes: HealthChange[] = []
    const errors: unknown[] = []
    const end = new AbortController()
    let rounds = 0
    const watched = watchHealth({
      bindings() {
        rounds++
        if (rounds === 2) throw new Error("the database")
        if (rounds === 3) emulator.inject({ kind: "server-error" }, { times: 1 })
        if (rounds === 5) emulator.inject({ kind: "server-error" }, { times: 2 })
        if (rounds === 8) emulator.setState(active.keyId, "Disabled")
        if (rounds === 10) end.abort()
        return [active, { ...active, id: "b2", state: "disabled" }]
      },
      ...{ providers: [provider], everyMs: 1, signal: end.signal },
      onChange(change) {
        changes.push(change)
        throw new Error("an observer")
      },
      onError: (error) => errors.push(error),
    })
    await watched
    expect(changes.map(({ bindingId, before, health }) => [bindingId, before, health.state])).toEqual([
      ["b1", undefined, "healthy"],
      ["b1", "healthy", "unreachable"],
      ["b1", "unreachable", "healthy"],
      ["b1", "healthy", "revoked"],
    ])
    expect([errors.length, rounds]).toEqual([1, 10])
    await close()
  })
})
