import type { KeyStore } from "./key-store.ts"
import type { Rpc } from "./rpc.ts"
import { permissionDenied } from "./rpc-error.ts"

/** Who may do what: everything is granted until it is denied, for one key or for all. */
export class Iam {
  readonly #denied = new Set<string>()

  /** `keyId` undefined: for the whole project, keys that do not exist included. */
  deny(permission: string, keyId: string | undefined): void {
    this.#denied.add(`${permission} ${keyId ?? ""}`)
  }

  allow(permission: string, keyId: string | undefined): void {
    this.#denied.delete(`${permission} ${keyId ?? ""}`)
  }

  /** A policy hangs on a key or above, never on a version. @throws RpcError `PERMISSION_DENIED` */
  check(permission: string, resource: string): void {
    if (!this.grants(permission, resource)) throw permissionDenied(permission, resource)
  }

  grants(permission: string, resource: string): boolean {
    return !this.#denied.has(`${permission} `) && !this.#denied.has(`${permission} ${keyOf(resource)}`)
  }
}

/** The key that a resource is or belongs to; the resource itself where there is none. */
export function keyOf(resource: string): string {
  return resource.split("/cryptoKeyVersions/", 1)[0] as string
}

/** `google.iam.v1`: which of the asked permissions there are; for a key that does not exist, none and no error. */
export function testIamPermissions(store: KeyStore, iam: Iam): Rpc {
  return {
    permission: undefined,
    resource: (request) => (request as TestIamPermissionsRequest).resource,
    answer(request) {
      const { resource, permissions } = request as TestIamPermissionsRequest
      const known = store.keys.has(resource) || store.rings.has(resource)
      return {
        permissions: known ? permissions.filter((permission) => iam.grants(permission, resource)) : [],
      }
    },
  }
}

type TestIamPermissionsRequest = { readonly resource: string; readonly permissions: readonly string[] }
