import { KeyfoldError } from "@keyfold/core"
import type { ProviderId } from "@keyfold/server"
import { readBindings } from "../bindings-file.ts"
import { contextOf } from "../context.ts"
import { existingHome, type HomeOptions } from "../home.ts"
import { withVaultStore } from "../vault-store.ts"

type Options = HomeOptions & {
  match?: string[]
  operator?: true
  provider?: ProviderId[]
  owner?: string
  expectedRegion?: string
  expires?: string
  url: string
  json?: true
}

/** Makes a link to the admin portal, for one tenant or for the operator, and prints it, this once. */
export async function link(options: Options): Promise<void> {
  const { provider: providers, owner, expectedRegion, operator } = options
  const match = options.match && contextOf(options.match, "--match")
  if ((match === undefined) === (operator === undefined))
    throw new KeyfoldError("INVALID_ARGUMENT", "say for whom: a tenant by --match, or --operator")
  const expiresInMs = timeOf(options.expires)
  const base = URL.parse(options.url)
  if (base === null || !/^https?:$/.test(base.protocol))
    throw new KeyfoldError("INVALID_ARGUMENT", "--url is where browsers reach keyfold serve")
  const bindings = await readBindings(existingHome(options))
  const { createOperatorLink, createPortalLink } = await import("@keyfold/server")
  await withVaultStore(options, async (store) => {
    const { path, expiresAt } =
      match === undefined
        ? await createOperatorLink(store, { expiresInMs })
        : await createPortalLink(store, { match, providers, owner, expectedRegion, expiresInMs }, bindings)
    const link = base.origin + path
    if (options.json) return console.log(JSON.stringify({ link, expiresAt }))
    console.log(
      `${link}\nIt opens once, until ${expiresAt.toISOString()}. Give it to nobody but whom it is for.`,
    )
  })
}

function timeOf(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const [, count, unit] = /^(\d{1,4})([mhd])$/.exec(text) ?? []
  if (count !== undefined && unit !== undefined)
    return Number(count) * UNITS_MS[unit as keyof typeof UNITS_MS]
  throw new KeyfoldError("INVALID_ARGUMENT", "--expires is a time such as 30m, 12h or 7d")
}

const UNITS_MS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const
