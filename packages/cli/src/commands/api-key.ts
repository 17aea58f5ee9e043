import { KeyfoldError } from "@keyfold/core"
import type { Action, ApiKey } from "@keyfold/server"
import { contextOf } from "../context.ts"
import { type HomeOptions, makeMissingHome } from "../home.ts"
import { withVaultStore } from "../vault-store.ts"

type Options = HomeOptions & { context?: string[]; allow?: string; json?: true }

/** Makes an API key and prints it, this once. */
export async function create(name: string, options: Options): Promise<void> {
  const context = options.context === undefined ? {} : contextOf(options.context)
  await makeMissingHome(options)
  const { ACTIONS, storeApiKey } = await import("@keyfold/server")
  const actions = (options.allow?.split(",") ?? ACTIONS) as readonly Action[]
  await withVaultStore(options, async (store) => {
    const { text, key } = await storeApiKey(store, name, { context, actions })
    if (options.json) console.log(JSON.stringify({ ...toJson(key), apiKey: text }))
    else console.log(`${text}\nIt is shown this once; keyfold api-key revoke ${key.id} ends it.`)
  })
}

export async function list(options: Options): Promise<void> {
  const { listApiKeys } = await import("@keyfold/server")
  await withVaultStore(options, async (store) => {
    const keys = await listApiKeys(store)
    if (options.json) {
      const times = keys.map((key) => ({ ...toJson(key), createdAt: new Date(key.createdAt) }))
      console.log(JSON.stringify({ apiKeys: times }))
      return
    }
    if (keys.length === 0) return console.log("there are no API keys; keyfold api-key create makes one")
    const { default: Table } = await import("cli-table3")
    const table = new Table({ head: ["id", "name", "bound to", "may", "made"] })
    for (const { id, name, scope, createdAt } of keys) {
      // Names of pairs: their values are the tenants'.
      const bound = Object.keys(scope.context).join(", ") || "nothing"
      table.push([id, name, bound, scope.actions.join(", "), new Date(createdAt).toISOString()])
    }
    console.log(table.toString())
  })
}

export async function revoke(id: string, options: Options): Promise<void> {
  await withVaultStore(options, async (store) => {
    if (!(await store.revokeApiKey(id, Date.now()))) {
      throw new KeyfoldError(
        "INVALID_ARGUMENT",
        "there is no such API key; keyfold api-key list shows their ids",
      )
    }
    console.log(
      options.json ? JSON.stringify({ revoked: id }) : `revoked ${id}: servers refuse it within a second`,
    )
  })
}

function toJson({ id, name, scope }: ApiKey): object {
  return { id, name, context: scope.context, actions: scope.actions }
}
