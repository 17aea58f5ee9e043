import { readFile } from "node:fs/promises"
import type { CmkProvider } from "@keyfold/byok"
import { KeyfoldError } from "@keyfold/core"
import type { KeyUsage, PortalCloud, PortalOptions, ProviderId } from "@keyfold/server"
import { changeBindingsOf } from "./bindings.ts"
import { readBindings } from "./bindings-file.ts"
import { cmkProvider } from "./byok-subject.ts"
import { fileFailure } from "./failure.ts"
import { pathOf } from "./files.ts"
import type { Home } from "./home.ts"
import { cloudOptionsOf, type KeyOptions } from "./key-options.ts"
import { parseToml } from "./toml.ts"

/** What a portal file says of one cloud. */
type CloudSettings = {
  readonly principal: string
  /** How the cloud is reached where that is not its own address. */
  readonly reach: KeyOptions
  /** Azure, with an authority of its own: where keys may be. */
  readonly vaultUrl: string | undefined
}

export type PortalSettings = {
  readonly url: string | undefined
  readonly clouds: Readonly<Partial<Record<ProviderId, CloudSettings>>>
}

/**
 * Reads which clouds the admin portal offers, and who the server is there.
 * @throws KeyfoldError `INVALID_ARGUMENT` for a name or value that is none of a portal file's
 */
export async function readPortalFile(name: string): Promise<PortalSettings> {
  const path = pathOf(name)
  const text = await readFile(path, "utf8").catch((error: unknown) => {
    throw fileFailure("cannot read the portal's settings", error)
  })
  const { url, ...tables } = await parseToml(path, text)
  if (url !== undefined && !(typeof url === "string" && /^https?:$/.test(URL.parse(url)?.protocol ?? "")))
    throw invalid(path, "url is where browsers reach the server, such as https://vault.example.com")
  const found = Object.entries(tables).map(([id, table]) => {
    if (!Object.hasOwn(NAMES, id)) throw invalid(path, `its tables are ${Object.keys(NAMES).join(", ")}`)
    return [id, settingsOf(path, id as ProviderId, table)] as const
  })
  if (found.length === 0) throw invalid(path, "it offers no cloud")
  return { url, clouds: Object.fromEntries(found) }
}

/** The portal over an open home. */
export function portalOver(
  { url, clouds: offered }: PortalSettings,
  home: Pick<Home, "paths" | "managed" | "environment" | "clouds">,
  usage: KeyUsage,
): PortalOptions {
  const { paths, environment, clouds } = home
  const cloudOf = (id: ProviderId, { principal, reach, vaultUrl }: CloudSettings): PortalCloud => ({
    principal,
    options: cloudOptionsOf({ provider: id, keyId: "arn:", ...reach }),
    provider: async () => within(cmkProvider(id, await clouds.cloud(id)), vaultUrl),
  })
  return {
    ...{ url, environment, usage, kekCounts: () => countKeks(home.managed) },
    clouds: Object.fromEntries(
      Object.entries(offered).map(([id, settings]) => [id, cloudOf(id as ProviderId, settings)]),
    ),
    bindings: {
      read: () => readBindings(paths),
      change: (work) => changeBindingsOf(home, ({ bindings, change }) => work(bindings, change)),
    },
  }
}

async function countKeks(managed: Home["managed"]): Promise<Readonly<Record<string, number>>> {
  const counts: Record<string, number> = {}
  for await (const { state } of managed.list()) counts[state] = (counts[state] ?? 0) + 1
  return counts
}

/** With an authority of its own, a key could be at any host, which would get the server's tokens. */
function within(provider: CmkProvider, vaultUrl: string | undefined): CmkProvider {
  if (vaultUrl === undefined) return provider
  const check = (keyId: string) => {
    if (URL.parse(keyId)?.origin === vaultUrl) return
    throw new KeyfoldError("INVALID_ARGUMENT", `the key is not at ${vaultUrl}`)
  }
  const { id, kek, resolveKeyId } = provider
  return {
    id,
    kek(keyId, options) {
      check(keyId)
      return kek(keyId, options)
    },
    ...(resolveKeyId && {
      async resolveKeyId(name, ...rest) {
        check(name)
        return resolveKeyId(name, ...rest)
      },
    }),
  }
}

function settingsOf(path: string, id: ProviderId, table: unknown): CloudSettings {
  if (typeof table !== "object" || table === null) throw invalid(path, `[${id}] is a table`)
  const { principal, "vault-url": vaultUrl, ...more } = table as Record<string, unknown>
  if (typeof principal !== "string" || !PRINCIPAL.test(principal))
    throw invalid(path, `[${id}] needs a principal: who this server is there`)
  const reach: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(more)) {
    const [option, type] = NAMES[id][name] ?? []
    if (option === undefined || typeof value !== type)
      throw invalid(path, `[${id}] has principal${Object.keys(NAMES[id]).map((each) => `, ${each}`)}`)
    reach[option] = value
  }
  const origin = typeof vaultUrl === "string" ? URL.parse(vaultUrl)?.origin : undefined
  if (id === "azure-keyvault" && (reach.authority !== undefined) !== (origin !== undefined))
    throw invalid(path, `[${id}] has authority and vault-url together, or neither`)
  if (id !== "azure-keyvault" && vaultUrl !== undefined) throw invalid(path, `[${id}] has no vault-url`)
  return { principal, reach, vaultUrl: origin }
}

function invalid(path: string, why: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", `${path}: ${why}`)
}

/** As ids of clouds are (policiesFor of @keyfold/byok). */
const PRINCIPAL = /^[\w+=,.@:/-]{1,2048}$/
/** What each table may hold beside the principal, and Azure's vault-url. */
const NAMES: Readonly<
  Record<
    ProviderId,
    Readonly<Record<string, readonly [option: keyof KeyOptions, type: "string" | "boolean"]>>
  >
> = {
  "aws-kms": { endpoint: ["endpoint", "string"] },
  "azure-keyvault": { authority: ["authority", "string"], "ca-file": ["caFile", "string"] },
  "gcp-kms": { endpoint: ["endpoint", "string"], "insecure-emulator": ["insecureEmulator", "boolean"] },
}
