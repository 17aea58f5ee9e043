import { KeyfoldError } from "@keyfold/core"
import type { Offered } from "@keyfold/vault"

/** The API key that WorkOS's SDKs read. @throws KeyfoldError `INVALID_ARGUMENT` */
export function workosKey(): string {
  const apiKey = process.env.WORKOS_API_KEY
  if (apiKey) return apiKey
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    "put the API key into WORKOS_API_KEY, or run this by keyfold exec: it is never an argument",
  )
}

/** The objects of WorkOS Vault, through WorkOS's own SDK, which waits and tries again where it is told to. */
export async function* workosObjects(host: string, apiKey: string): AsyncGenerator<Offered> {
  const { WorkOS } = await import("@workos-inc/node")
  const { hostname, port, protocol } = new URL(host)
  const { vault } = new WorkOS(apiKey, {
    ...{ apiHostname: hostname, https: protocol === "https:" },
    ...(port !== "" && { port: Number(port) }),
  })
  for (let after: string | undefined; ; ) {
    const page = await vault
      .listObjects({ limit: 100, order: "asc", ...(after !== undefined && { after }) })
      .catch(rethrow)
    for (const { id, name } of page.data) yield { name, read: () => readObject(id) }
    after = page.listMetadata.after ?? undefined
    if (after === undefined) return
  }

  async function readObject(id: string) {
    const { value, metadata } = await vault.readObject({ id }).catch(rethrow)
    if (value === undefined) throw new KeyfoldError("UNAVAILABLE", "WorkOS gave an object without its value")
    return { context: metadata.context, value }
  }
}

/** Without the SDK's error as its cause, which holds the request. */
function rethrow(error: unknown): never {
  const { status } = error as { status?: number }
  const told = status === undefined ? "WorkOS cannot be reached" : `WorkOS answers ${status}`
  if (status === 401 || status === 403) {
    throw new KeyfoldError("PERMISSION_DENIED", `${told}: WORKOS_API_KEY may not read its Vault`)
  }
  if (status === 429) throw new KeyfoldError("THROTTLED", `${told}: run this again later, and it goes on`)
  throw new KeyfoldError("UNAVAILABLE", `${told}: run this again, and it goes on where it was`)
}
