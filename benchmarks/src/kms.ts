/** What leases save of the calls to each cloud's KMS. Started by bench.ts; prints one line of JSON. */
import type { Keyfold } from "@keyfold/core"
import { CLOUDS, type CloudName, startWorld, type World } from "@keyfold/laws/world"
import { median } from "./median.ts"

type Op = "encrypt" | "decrypt"

export type KmsReport = {
  /** Calls for one operation on each of 1,000 contexts that share the bound pair. */
  readonly kms: readonly {
    readonly provider: string
    readonly lease: boolean
    readonly op: Op
    readonly calls_per_1000: number
  }[]
  /** Operations a second where the KMS takes 20 ms a call and leases are on, beside a tenant without a CMK. */
  readonly kms_throughput: readonly {
    readonly provider: string
    readonly op: Op
    readonly leased_per_s: number
    readonly managed_per_s: number
    readonly ratio: number
  }[]
}

const CONTEXTS = 1_000
const PAYLOAD = new Uint8Array(1024).fill(7)
const KMS_LATENCY_MS = 20
const ROUNDS = Number(process.argv[2] ?? 25)

const world = await startWorld()
const report: { -readonly [K in keyof KmsReport]: KmsReport[K][number][] } = { kms: [], kms_throughput: [] }
for (const name of CLOUDS) {
  await countCalls(world, name, false)
  await countCalls(world, name, true)
  await compareThroughput(world, name)
}
await world[Symbol.asyncDispose]()
console.log(JSON.stringify(report))

async function countCalls(world: World, name: CloudName, lease: boolean): Promise<void> {
  const { tenant, keyfold, provider } = await tenantOf(world, name, lease)
  const envelopes: Uint8Array[] = []
  for (const op of ["encrypt", "decrypt"] as const) {
    const before = world.calls()
    for (let i = 0; i < CONTEXTS; i++) {
      const context = contextOf(tenant, i)
      if (op === "encrypt") envelopes.push(await keyfold.encrypt(PAYLOAD, { context }))
      else await keyfold.decrypt(envelopes[i] as Uint8Array, { context })
    }
    report.kms.push({ provider, lease, op, calls_per_1000: world.calls() - before })
  }
}

/** Turn by turn in one process, so that a noisy minute meets both. */
async function compareThroughput(world: World, name: CloudName): Promise<void> {
  const { tenant, keyfold, provider } = await tenantOf(world, name, true)
  const undo = world.clouds[name].emulator.inject({ kind: "latency", ms: KMS_LATENCY_MS })
  const tenants = [tenant, `unbound-${name}`]
  const rates: Record<Op, number[][]> = { encrypt: [[], []], decrypt: [[], []] }
  for (let round = -1; round < ROUNDS; round++) {
    for (const [which, tenant] of tenants.entries()) {
      const { envelopes, perSecond } = await encryptAll(keyfold, tenant)
      const started = performance.now()
      for (const [i, envelope] of envelopes.entries()) {
        await keyfold.decrypt(envelope, { context: contextOf(tenant, i) })
      }
      if (round < 0) continue // contexts, KEKs and leases are made, and code is warm
      rates.encrypt[which]?.push(perSecond)
      rates.decrypt[which]?.push((CONTEXTS * 1000) / (performance.now() - started))
    }
  }
  undo()
  for (const op of ["encrypt", "decrypt"] as const) {
    const [leased_per_s, managed_per_s] = rates[op].map(median) as [number, number]
    report.kms_throughput.push({
      provider,
      op,
      leased_per_s,
      managed_per_s,
      ratio: leased_per_s / managed_per_s,
    })
  }
}

async function encryptAll(keyfold: Keyfold, tenant: string) {
  const envelopes: Uint8Array[] = []
  const started = performance.now()
  for (let i = 0; i < CONTEXTS; i++) {
    envelopes.push(await keyfold.encrypt(PAYLOAD, { context: contextOf(tenant, i) }))
  }
  return { envelopes, perSecond: (CONTEXTS * 1000) / (performance.now() - started) }
}

async function tenantOf(world: World, name: CloudName, lease: boolean) {
  const tenant = `${name}-${lease}-${Math.random()}`
  await world.bind(name, { id: tenant, leaseTtlMs: lease ? 600_000 : 0 })
  const keyfold = world.keyfold({}, { bindings: [...world.bindings] })
  return { tenant, keyfold, provider: world.clouds[name].provider.id }
}

function contextOf(tenant: string, i: number) {
  return { organization_id: tenant, user: `u_${i}` }
}
