import { AzureError } from "./azure-error.ts"
import type { AzureService } from "./key-store.ts"
import type { Caller } from "./token-endpoint.ts"

/** Which of the two permission models of a vault withholds something; each words its refusals in its own way. */
export type AzureAccessLayer = "rbac" | "access-policy"

/** A key permission, as access policies name them. */
export type AzurePermission =
  | "get"
  | "list"
  | "create"
  | "update"
  | "delete"
  | "recover"
  | "purge"
  | "rotate"
  | "encrypt"
  | "decrypt"
  | "wrapKey"
  | "unwrapKey"

/** What the caller may do: everything at first. */
export class Access {
  firewall: "open" | "closed" = "open"
  readonly #withheld = new Set<string>()

  /** For one key, named by the part of its id before the version, or for all. */
  withhold(layer: AzureAccessLayer, permission: AzurePermission, key = ""): void {
    this.#withheld.add([layer, permission, key].join())
  }

  restore(layer: AzureAccessLayer, permission: AzurePermission, key = ""): void {
    this.#withheld.delete([layer, permission, key].join())
  }

  /** @throws AzureError `Forbidden`, with the inner code that tells which */
  check(caller: Caller, permission: AzurePermission, service: AzureService, name: string): void {
    if (this.firewall === "closed") throw forbiddenByFirewall(caller, service)
    const isWithheld = (layer: AzureAccessLayer) =>
      this.#withheld.has([layer, permission, ""].join()) ||
      this.#withheld.has([layer, permission, keyOf(service, name)].join())
    if (isWithheld("rbac")) throw forbiddenByRbac(caller, permission, service, name)
    if (isWithheld("access-policy")) throw forbiddenByPolicy(caller, permission, service)
  }
}

/** What the id of every version of a key begins with. Names of keys do not differ by case alone. */
export function keyOf(service: AzureService, name: string): string {
  return `${service.url}/keys/${name.toLowerCase()}`
}

export function forbiddenByRbac(
  caller: Caller,
  permission: AzurePermission,
  service: AzureService,
  name: string,
): AzureError {
  const kind = service.kind === "hsm" ? "managedHsm" : "vaults"
  return forbidden("ForbiddenByRbac", [
    "Caller is not authorized to perform action on resource.",
    "If role assignments, deny assignments or role definitions were changed recently, please observe propagation time.",
    described(caller),
    `Action: 'Microsoft.KeyVault/${kind}/keys/${RBAC_ACTIONS[permission]}'`,
    `Resource: '/subscriptions/${SUBSCRIPTION}/resourcegroups/keyfold/providers/microsoft.keyvault/${kind}/${service.name}/keys/${name}'`,
    "Assignment: (not found)",
    "DenyAssignmentId: null",
    "DecisionReason: DeniedWithNoValidRBAC",
    `Vault: ${service.name};location=westeurope`,
  ])
}

function forbiddenByPolicy(caller: Caller, permission: AzurePermission, service: AzureService): AzureError {
  return forbidden("AccessDenied", [
    `The user, group or application '${described(caller).slice("Caller: ".length)}' does not have keys ${permission} ` +
      `permission on key vault '${service.name};location=westeurope'.`,
  ])
}

function forbiddenByFirewall(caller: Caller, service: AzureService): AzureError {
  return forbidden("ForbiddenByFirewall", [
    "Client address is not authorized and caller is not a trusted service.",
    "Client address: 192.0.2.1",
    described(caller),
    `Vault: ${service.name};location=westeurope`,
  ])
}

function forbidden(innerCode: string, lines: readonly string[]): AzureError {
  return new AzureError(403, "Forbidden", lines.join("\r\n"), innerCode)
}

function described({ clientId, tenantId }: Caller): string {
  return `Caller: appid=${clientId};oid=${clientId};iss=https://sts.windows.net/${tenantId}/`
}

/** What stands after `Microsoft.KeyVault/vaults/keys/` in a data action (Azure RBAC, "Microsoft.KeyVault"). */
const RBAC_ACTIONS: Readonly<Record<AzurePermission, string>> = {
  get: "read",
  list: "read",
  create: "create/action",
  update: "update/action",
  delete: "delete",
  recover: "recover/action",
  purge: "purge/action",
  rotate: "rotate/action",
  encrypt: "encrypt/action",
  decrypt: "decrypt/action",
  wrapKey: "wrap/action",
  unwrapKey: "unwrap/action",
}
const SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
