import { readFile } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import type { ManagedKekEvent } from "@keyfold/kek-managed"
import type { KeyUsage, Metrics } from "@keyfold/server"
import { watchKeys } from "../byok-events.ts"
import { fileFailure, printable, untilSignal } from "../failure.ts"
import { pathOf } from "../files.ts"
import { type Home, type HomeOptions, makeMissingHome, withHome } from "../home.ts"
import { readConfig } from "../home-config.ts"
import { wholeNumber } from "../options.ts"
import { type PortalSettings, portalOver, readPortalFile } from "../portal-file.ts"
import { openVaultStore } from "../stores.ts"
import { portOf } from "./emulate.ts"

type Options = HomeOptions & {
  host: string
  port: string
  postgres?: string
  tlsCert?: string
  tlsKey?: string
  insecureHttp?: true
  rateLimit: string
  recoveryDays: string
  checkKeys: string
  portal?: string
  log?: true
  json?: true
}

type Settings = {
  readonly port: number
  readonly requestsPerMinute: number
  readonly recoveryDays: number
  /** How often bound keys are asked whether they still open, in seconds; 0 for never. */
  readonly checkKeys: number
  readonly tls: Tls | undefined
  readonly portal: PortalSettings | undefined
  readonly metrics: Metrics
  readonly usage: KeyUsage
}

type Tls = { readonly cert: string; readonly key: string }

/** Runs until it is interrupted; requests under way are answered first. */
export async function serve(options: Options): Promise<void> {
  const settings = {
    port: portOf(options.port),
    requestsPerMinute: wholeNumber(options.rateLimit, "--rate-limit"),
    recoveryDays: wholeNumber(options.recoveryDays, "--recovery-days"),
    checkKeys: wholeNumber(options.checkKeys, "--check-keys"),
    tls: await tlsOf(options),
    portal: options.portal === undefined ? undefined : await readPortalFile(options.portal),
  }
  await makeMissingHome(options)
  const { countKeyUsage, createMetrics } = await import("@keyfold/server")
  const metrics = createMetrics()
  const usage = countKeyUsage()
  // Opening a home can destroy what is due: kept until the vault, which opens later, can write it down.
  const early: ManagedKekEvent[] = []
  let tell = (event: ManagedKekEvent): void => void early.push(event)
  const hearKeks = (listener: typeof tell) => {
    tell = listener
    early.forEach(listener)
  }
  await withHome(options, (home) => serveHome(home, options, { ...settings, metrics, usage }, hearKeks), {
    onEvent(event) {
      metrics.onKeyfoldEvent(event)
      usage.onKeyfoldEvent(event)
    },
    onKekEvent: (event) => tell(event),
  })
}

async function serveHome(
  home: Home,
  { host, insecureHttp, log, json }: Options,
  settings: Settings,
  hearKeks: (listener: (event: ManagedKekEvent) => void) => void,
): Promise<void> {
  const { paths, environment, keyfold } = home
  const { EventBuffer, eventRow } = await import("@keyfold/vault")
  const { createApiKey, createApp, listen, startUpkeep } = await import("@keyfold/server")
  const config = await readConfig(paths)
  const store = await openVaultStore(paths, config)
  const events = new EventBuffer(store)
  const onFailure = (error: unknown, requestId?: string) => {
    const code = error instanceof KeyfoldError ? error.code : "UNKNOWN"
    console.error(json ? JSON.stringify({ requestId, code }) : `${requestId ?? "upkeep"} failed: ${code}`)
    if (process.env.KEYFOLD_DEBUG === "1") console.error(error)
  }
  hearKeks(({ type, keyId }) => {
    const told = KEK_EVENTS[type]
    if (told !== undefined) void events.record([eventRow(told, SYSTEM, { keyIds: [keyId] })]).catch(onFailure)
  })
  const { metrics, recoveryDays } = settings
  const upkeep = startUpkeep({ store, recoveryDays, keyfold, metrics, onError: onFailure })
  const endWatch =
    settings.checkKeys === 0
      ? undefined
      : await watchKeys(home, {
          every: settings.checkKeys,
          record: (event) => void events.record([event]).catch(onFailure),
          onChange: ({ bindingId, health: { state, reason, message } }) => {
            if (json) console.error(JSON.stringify({ bindingId, state, reason }))
            else console.error(`the key of ${bindingId} is ${state}: ${printable(message)}`)
          },
          onError: onFailure,
        })
  try {
    const { text: apiKey, key } = createApiKey("keyfold serve")
    const environmentId = `environment_${environment}`
    const { requestsPerMinute, port: wanted, tls } = settings
    const portal = settings.portal && portalOver(settings.portal, home, settings.usage)
    const app = createApp({
      ...{ keyfold, store, events, apiKeys: [key], environmentId, requestsPerMinute, metrics },
      onError: onFailure,
      ...(portal !== undefined && { portal }),
      ...(log && { onRequest: (request) => console.error(JSON.stringify(request)) }),
    })
    const stopped = untilSignal()
    const { url, port, close } = await listen(app, {
      ...{ host, port: wanted, insecureHttp: insecureHttp ?? false },
      ...(tls !== undefined && { tls }),
    })
    console.log(
      json
        ? JSON.stringify({ url, apiKey, environmentId })
        : welcome(url, port, apiKey, config.postgres ?? paths.folder),
    )
    await stopped
    await close()
  } finally {
    await endWatch?.()
    await events.flush()
    await upkeep.stop()
    await store.close()
  }
}

function welcome(url: string, port: number, apiKey: string, folder: string): string {
  const { hostname, protocol } = new URL(url)
  return `keyfold serves a vault at ${url}, from ${folder}. Ctrl-C ends it.

Its API key, shown this once and good until it ends: ${apiKey}
(keyfold api-key create makes one that lasts.)

  import { WorkOS } from "@workos-inc/node"
  const workos = new WorkOS("${apiKey}", { apiHostname: "${hostname}", port: ${port}, https: ${protocol === "https:"} })
  const { id } = await workos.vault.createObject({ name: "ssn", value: "078-05-1120", context: { organization_id: "org_1" } })
  console.log(await workos.vault.readObject({ id }))`
}

async function tlsOf({ tlsCert, tlsKey }: Options): Promise<Tls | undefined> {
  if (tlsCert === undefined && tlsKey === undefined) return undefined
  if (tlsCert === undefined || tlsKey === undefined)
    throw new KeyfoldError("INVALID_ARGUMENT", "give --tls-cert and --tls-key together")
  const read = (file: string) =>
    readFile(pathOf(file), "utf8").catch((error: unknown) => {
      throw fileFailure("cannot read the certificate or its key", error)
    })
  return { cert: await read(tlsCert), key: await read(tlsKey) }
}

const SYSTEM = { id: "keyfold", name: "keyfold", source: "system" } as const
const KEK_EVENTS: Partial<Record<ManagedKekEvent["type"], "vault.kek.created" | "vault.kek.deleted">> = {
  "kek.created": "vault.kek.created",
  "kek.destroyed": "vault.kek.deleted",
}
