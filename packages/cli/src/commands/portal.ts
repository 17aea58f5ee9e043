import { KeyfoldError } from "@keyfold/core"
import type { ProviderId } from "@keyfold/server"
import { readBindings } from "../bindings-file.ts"
import { contextOf } from "../context.ts"
import { existingHome, type HomeOptions } from "../home.ts"
import { withVaultStore } from "../vault-store.ts"

type Options = HomeOptions & {
  match: string[]
  provider?: ProviderId[]
  owner?: string
  expectedRegion?: string
  expires: string
  url: string
  json?: true
}

/** Makes a link to the admin portal for one tenant, and prints it, this once. */
export async function link(options: Options): Promise<void> {
  const match = contextOf(options.match, "--match")
  const { provider: providers, owner, expectedRegion } = options
  const expiresInMs = timeOf(options.expires)
  const base = URL.parse(options.url)
  if (base === null || !/^https?:$/.test(base.protocol))
    throw new KeyfoldError("INVALID_ARGUMENT", "--url is where browsers reach keyfold serve")
  const bindings = await readBindings(existingHome(options))
  const { createPortalLink } = await import("@keyfold/server")
  await withVaultStore(options, async (store) => {
    const wanted = { match, providers, owner, expectedRegion, expiresInMs }
    const { path, expiresAt } = await createPortalLink(store, wanted, bindings)
    const link = base.origin + path
    if (options.json) return console.log(JSON.stringify({ link, expiresAt }))
    console.log(
      `${link}\nIt opens once, until ${expiresAt.toISOString()}. Give it to nobody but that administrator.`,
    )
  })
}

function timeOf(text: string): number {
  const [, count, unit] = /^(\d{1,4})([mhd])$/.exec(text) ?? []
  if (count !== undefined && unit !== undefined)
    return Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS]
  throw new KeyfoldError("INVALID_ARGUMENT", "--expires is a time such as 30m, 12h or 7d")
}

const UNITS_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const
