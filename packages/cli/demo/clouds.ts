/** The demo's part on customers' keys: three clouds as local emulators, driven by the clouds' own SDKs. */
import { CLOUDS, startWorld, type World } from "@keyfold/laws/world"
import { removeBinding } from "@keyfold/router"
import Table from "cli-table3"
import type { Demo } from "./demo.ts"

export async function customerKeys({ broken, check, outcome, sha256 }: Demo): Promise<void> {
  console.log(
    "\nCustomers' own keys: AWS KMS, Azure Key Vault and Google Cloud KMS as local emulators, four tenants",
  )
  await using world = await startWorld()
  const tenants = [...CLOUDS, "unbound"]
  for (const name of CLOUDS) if (broken !== "tenants" || name !== "gcp") await world.bind(name)

  const envelopes = new Map<string, Uint8Array>()
  for (const tenant of tenants) envelopes.set(tenant, await encrypt(world, tenant))
  printWraps(world, envelopes)
  const routes = tenants.map((tenant) => providersOf(world, envelopes.get(tenant) as Uint8Array))
  check(
    "tenants",
    "who wraps for organization_id",
    routes.join(", "),
    "aws-kms, azure-keyvault+companion, gcp-kms, managed",
  )

  const revoked = world.bindings[0]?.keyId as string
  if (broken !== "revoke") world.clouds.aws.disable(revoked)
  const opened = await Promise.all(
    tenants.map((tenant) =>
      outcome(world.keyfold().decrypt(envelopes.get(tenant) as Uint8Array, { context: contextOf(tenant) })),
    ),
  )
  check(
    "revoke",
    "AWS key disabled: aws, azure, gcp, unbound",
    opened.join(", "),
    "KEY_DISABLED, opens, opens, opens",
  )

  // The fourth tenant brings its own key, and takes it back again.
  const before = envelopes.get("unbound") as Uint8Array
  const binding = await world.bind("gcp", { id: "unbound" })
  const context = contextOf("unbound")
  const moved = broken === "move" ? before : await world.keyfold().rewrap(before, { context })
  await removeBinding(binding, world)
  const back = await world.keyfold().rewrap(moved, { context })
  const way = [before, moved, back].map((each) => providersOf(world, each)).join(" → ")
  check("move", "rewrapped to a customer's key and back", way, "managed → gcp-kms → managed")
  const payloads = [before, back].map((each) =>
    sha256(each.subarray(world.keyfold().inspect(each).headerBytes)),
  )
  check("move", "  SHA-256 of the payload, before and after", payloads[1], payloads[0])
}

function contextOf(tenant: string) {
  return { data_type: "ssn", organization_id: tenant }
}

function encrypt(world: World, tenant: string): Promise<Uint8Array> {
  return world.keyfold().encrypt(`the secret of ${tenant}`, { context: contextOf(tenant) })
}

/** Whose wraps cover the second pair, organization_id. */
function providersOf(world: World, envelope: Uint8Array): string {
  return world
    .keyfold()
    .inspect(envelope)
    .wraps.filter(({ covers }) => covers.includes(1))
    .map(({ providerId, role }) => (role === "companion" ? role : providerId))
    .join("+")
}

function printWraps(world: World, envelopes: ReadonlyMap<string, Uint8Array>): void {
  const table = new Table({
    head: ["tenant", "pair", "provider", "key id", "role"],
    style: { head: [], border: [] },
  })
  for (const [tenant, envelope] of envelopes) {
    for (const { providerId, keyId, covers, role } of world.keyfold().inspect(envelope).wraps) {
      const pairs = covers.map((i) => Object.keys(contextOf(tenant))[i]).join(", ")
      table.push([tenant, pairs, providerId, keyId.length > 48 ? `…${keyId.slice(-47)}` : keyId, role])
    }
  }
  console.log(table.toString())
}
