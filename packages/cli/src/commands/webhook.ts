import { KeyfoldError } from "@keyfold/core"
import { type HomeOptions, makeMissingHome, withHome } from "../home.ts"
import { readConfig } from "../home-config.ts"
import { openVaultStore } from "../stores.ts"
import { withVaultStore } from "../vault-store.ts"

type Options = HomeOptions & { events?: string; withoutContext?: true; json?: true }

/** Makes a webhook and prints its secret, this once. */
export async function add(url: string, options: Options): Promise<void> {
  const types = options.events?.split(",")
  await makeMissingHome(options)
  const { createWebhook } = await import("@keyfold/server")
  await withHome(options, async ({ keyfold, paths }) => {
    const store = await openVaultStore(paths, await readConfig(paths))
    try {
      const wanted = { url, types, withoutContext: options.withoutContext }
      const { id, secret } = await createWebhook(store, keyfold, wanted)
      if (options.json) console.log(JSON.stringify({ id, secret }))
      else
        console.log(
          `${secret}\nIt is shown this once, for the receiver; keyfold webhook remove ${id} ends it.`,
        )
    } finally {
      await store.close()
    }
  })
}

export async function list(options: Options): Promise<void> {
  const { listWebhooks } = await import("@keyfold/server")
  await withVaultStore(options, async (store) => {
    const webhooks = await listWebhooks(store)
    if (options.json) return console.log(JSON.stringify({ webhooks }))
    if (webhooks.length === 0) return console.log("there are no webhooks; keyfold webhook add makes one")
    const { default: Table } = await import("cli-table3")
    const table = new Table({ head: ["id", "url", "gets", "state", "behind"] })
    for (const { id, url, types, withoutContext, state, failure, behind } of webhooks) {
      const gets = `${types.length} types${withoutContext ? ", without context" : ""}`
      const why = failure && ` since ${failure.since.toISOString()}: ${failure.reason}`
      table.push([id, url, gets, state + (why ?? ""), behind])
    }
    console.log(table.toString())
  })
}

export async function resume(id: string, options: Options): Promise<void> {
  const { resumeWebhook } = await import("@keyfold/server")
  await withVaultStore(options, async (store) => {
    if (!(await resumeWebhook(store, id))) throw unknown()
    console.log(options.json ? JSON.stringify({ resumed: id }) : `a running server tries ${id} again at once`)
  })
}

export async function remove(id: string, options: Options): Promise<void> {
  await withVaultStore(options, async (store) => {
    if (!(await store.removeWebhook(id))) throw unknown()
    console.log(options.json ? JSON.stringify({ removed: id }) : `removed ${id}: it is sent nothing more`)
  })
}

function unknown(): KeyfoldError {
  return new KeyfoldError(
    "INVALID_ARGUMENT",
    "there is no such webhook; keyfold webhook list shows their ids",
  )
}
