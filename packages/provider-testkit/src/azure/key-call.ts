import type { HttpCall } from "../http-service.ts"
import type { AzurePermission } from "./access.ts"
import type { KeyStore } from "./key-store.ts"
import type { CryptoOperation } from "./state-table.ts"

export type ManagementOperation =
  | "listKeys"
  | "listKeyVersions"
  | "getKey"
  | "createKey"
  | "updateKey"
  | "rotateKey"
  | "deleteKey"
  | "listDeletedKeys"
  | "getDeletedKey"
  | "recoverDeletedKey"
  | "purgeDeletedKey"

/** What a request asks for, before anything is checked. */
export type KeyCall = {
  readonly operation: CryptoOperation | ManagementOperation
  /** The permission it needs. */
  readonly permission: AzurePermission
  readonly store: KeyStore
  /** As sent; `""` where the request names no key, or no version. */
  readonly name: string
  readonly version: string
}

/** Reads method and path of a request to a vault; undefined for one that is not about keys. */
export function readKeyCall({ method, path }: HttpCall, store: KeyStore): KeyCall | undefined {
  const [pathname = "", query = ""] = path.split("?")
  if (!new URLSearchParams(query).has("api-version")) return undefined
  for (const route of ROUTES) {
    const match = route.method === method ? route.path.exec(pathname) : null
    if (match === null) continue
    const { name = "", version = "", verb = "" } = match.groups ?? {}
    const operation = route.operation ?? CRYPTO[verb]
    if (operation === undefined) return undefined
    return {
      operation,
      permission: route.permission ?? (CRYPTO[verb] as CryptoOperation),
      store,
      name,
      version,
    }
  }
  return undefined
}

/** A key's id as the call names it. */
export function requestedId({ store, name, version }: KeyCall): string {
  if (name === "") return store.service.url
  return `${store.service.url}/keys/${name}${version === "" ? "" : `/${version}`}`
}

const CRYPTO: Readonly<Record<string, CryptoOperation>> = {
  encrypt: "encrypt",
  decrypt: "decrypt",
  wrapkey: "wrapKey",
  unwrapkey: "unwrapKey",
}

type Route = {
  readonly method: string
  readonly path: RegExp
  readonly operation?: ManagementOperation
  readonly permission?: AzurePermission
}

/** Key Vault REST API, "Keys". A version may be left empty. */
const ROUTES: readonly Route[] = [
  { method: "GET", path: /^\/keys\/?$/, operation: "listKeys", permission: "list" },
  { method: "POST", path: /^\/keys\/(?<name>[^/]+)\/create$/, operation: "createKey", permission: "create" },
  { method: "POST", path: /^\/keys\/(?<name>[^/]+)\/rotate$/, operation: "rotateKey", permission: "rotate" },
  {
    method: "GET",
    path: /^\/keys\/(?<name>[^/]+)\/versions$/,
    operation: "listKeyVersions",
    permission: "list",
  },
  {
    method: "GET",
    path: /^\/keys\/(?<name>[^/]+)(\/(?<version>[^/]*))?$/,
    operation: "getKey",
    permission: "get",
  },
  {
    method: "PATCH",
    path: /^\/keys\/(?<name>[^/]+)(\/(?<version>[^/]*))?$/,
    operation: "updateKey",
    permission: "update",
  },
  { method: "DELETE", path: /^\/keys\/(?<name>[^/]+)$/, operation: "deleteKey", permission: "delete" },
  {
    method: "POST",
    path: /^\/keys\/(?<name>[^/]+)\/(?<version>[^/]*)\/(?<verb>encrypt|decrypt|wrapkey|unwrapkey)$/i,
  },
  { method: "GET", path: /^\/deletedkeys\/?$/, operation: "listDeletedKeys", permission: "list" },
  { method: "GET", path: /^\/deletedkeys\/(?<name>[^/]+)$/, operation: "getDeletedKey", permission: "get" },
  {
    method: "POST",
    path: /^\/deletedkeys\/(?<name>[^/]+)\/recover$/,
    operation: "recoverDeletedKey",
    permission: "recover",
  },
  {
    method: "DELETE",
    path: /^\/deletedkeys\/(?<name>[^/]+)$/,
    operation: "purgeDeletedKey",
    permission: "purge",
  },
]
