import { readFile } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { fileFailure, untilSignal } from "../failure.ts"
import { pathOf } from "../files.ts"
import { type Home, type HomeOptions, makeMissingHome, withHome } from "../home.ts"
import { portOf } from "./emulate.ts"

type Options = HomeOptions & {
  host: string
  port: string
  tlsCert?: string
  tlsKey?: string
  insecureHttp?: true
  json?: true
}

/** Runs until it is interrupted; requests under way are answered first. */
export async function serve(options: Options): Promise<void> {
  const port = portOf(options.port)
  const tls = await tlsOf(options)
  await makeMissingHome(options)
  await withHome(options, (home) => serveHome(home, options, { port, ...(tls !== undefined && { tls }) }))
}

async function serveHome(
  { paths, environment, keyfold }: Home,
  { host, insecureHttp, json }: Options,
  rest: { readonly port: number; readonly tls?: { readonly cert: string; readonly key: string } },
): Promise<void> {
  const { createVault } = await import("@keyfold/vault")
  const { sqliteVaultStore } = await import("@keyfold/vault/sqlite")
  const { createApiKey, createApp, listen } = await import("@keyfold/server")
  const store = sqliteVaultStore(paths.vault)
  try {
    const { text: apiKey, key } = createApiKey("keyfold serve")
    const environmentId = `environment_${environment}`
    const vault = createVault({ keyfold, store })
    const onError = (error: unknown, requestId: string) => {
      const code = error instanceof KeyfoldError ? error.code : "UNKNOWN"
      console.error(json ? JSON.stringify({ requestId, code }) : `request ${requestId} failed: ${code}`)
      if (process.env.KEYFOLD_DEBUG === "1") console.error(error)
    }
    const app = createApp({ vault, keyfold, apiKeys: [key], environmentId, onError })
    const stopped = untilSignal()
    const { url, port, close } = await listen(app, { host, insecureHttp: insecureHttp ?? false, ...rest })
    console.log(
      json ? JSON.stringify({ url, apiKey, environmentId }) : welcome(url, port, apiKey, paths.folder),
    )
    await stopped
    await close()
  } finally {
    await store.close()
  }
}

function welcome(url: string, port: number, apiKey: string, folder: string): string {
  const { hostname, protocol } = new URL(url)
  return `keyfold serves a vault at ${url}, from ${folder}. Ctrl-C ends it.

Its API key, shown this once and good until it ends: ${apiKey}

  import { WorkOS } from "@workos-inc/node"
  const workos = new WorkOS("${apiKey}", { apiHostname: "${hostname}", port: ${port}, https: ${protocol === "https:"} })
  const { id } = await workos.vault.createObject({ name: "ssn", value: "078-05-1120", context: { organization_id: "org_1" } })
  console.log(await workos.vault.readObject({ id }))`
}

async function tlsOf({ tlsCert, tlsKey }: Options) {
  if (tlsCert === undefined && tlsKey === undefined) return undefined
  if (tlsCert === undefined || tlsKey === undefined)
    throw new KeyfoldError("INVALID_ARGUMENT", "give --tls-cert and --tls-key together")
  const read = (file: string) =>
    readFile(pathOf(file), "utf8").catch((error: unknown) => {
      throw fileFailure("cannot read the certificate or its key", error)
    })
  return { cert: await read(tlsCert), key: await read(tlsKey) }
}
