/** A server over a vault in a folder of its own, with one API key. */
import { execFile } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { createKeyfold } from "@keyfold/core"
import { createManagedProvider, type ManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { type CloudName, startWorld } from "@keyfold/laws/world"
import { type PostgresOptions, postgresKekStore, postgresVaultStore } from "@keyfold/postgres"
import { createRouter } from "@keyfold/router"
import type { VaultStore } from "@keyfold/vault"
import { sqliteVaultStore } from "@keyfold/vault/sqlite"
import { createApiKey, createApp, listen, type ServerOptions } from "../src/index.ts"

export type TestWorld = {
  readonly url: string
  readonly apiKey: string
  readonly managed: ManagedProvider
  /** Calls that reached the cloud. */
  readonly calls: () => number
  /** What the customer does with its key, where there is one. */
  readonly cmk: { readonly disable: () => void; readonly enable: () => void } | undefined
  /** Status, code and body of a request, with this server's key unless told otherwise. */
  readonly request: (
    method: string,
    path: string,
    body?: unknown,
    headers?: Record<string, string>,
  ) => Promise<Reply>
  /** What the SDK, in a process of its own, gives for a call on `workos.vault`, or the error it throws. */
  readonly sdk: (...calls: readonly Call[]) => Promise<readonly SdkReply[]>
  readonly store: VaultStore
  readonly options: ServerOptions
  readonly errors: unknown[]
  readonly close: () => Promise<void>
}

export type Reply = {
  readonly status: number
  readonly headers: Headers
  readonly body: Record<string, unknown>
}
/** A method, of `workos.vault` unless it names another service, and its arguments; `$0.id` stands for a field of an earlier reply. */
export type Call = readonly [method: string, ...args: unknown[]]
export type SdkReply = {
  readonly value?: never
  readonly error?: { readonly name: string; readonly status: number; readonly message: string }
}

/**
 * With a cloud, `organization_id: "org_1"` is bound to a key in its emulator. With a database the objects are in it, and
 * so are managed KEKs where there is no cloud; otherwise in SQLite.
 */
export async function startTestWorld(cloud?: CloudName, connectionString?: string): Promise<TestWorld> {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-server-"))
  const postgres =
    connectionString === undefined ? undefined : { connectionString, schema: cloud ?? "managed" }
  const { managed, keyfold, calls, cmk, end } = await (cloud === undefined
    ? managedOnly(postgres)
    : bound(cloud))
  const store =
    postgres === undefined ? sqliteVaultStore(join(folder, "vault.db")) : postgresVaultStore(postgres)
  const { text: apiKey, key } = createApiKey("test")
  const errors: unknown[] = []
  const bindings = { read: async () => [], change: () => Promise.reject(new Error("none is changed here")) }
  const portal = { clouds: {}, bindings, environment: "test" }
  const options = { keyfold, store, portal, apiKeys: [key], environmentId: "environment_test" }
  const app = createApp({ ...options, onError: (error) => errors.push(error) })
  const { url, port, close } = await listen(app, { port: 0 })
  return {
    url,
    apiKey,
    managed,
    calls,
    cmk,
    store,
    options,
    errors,
    async request(method, path, body, headers = {}) {
      const response = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json", ...headers },
        ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
      })
      return {
        status: response.status,
        headers: response.headers,
        body: (await response.json()) as Record<string, unknown>,
      }
    },
    async sdk(...calls) {
      const script = join(import.meta.dirname, "sdk-client.mjs")
      const given = JSON.stringify({ apiKey, port, calls })
      const { stdout } = await promisify(execFile)(process.execPath, [script, given])
      return JSON.parse(stdout)
    },
    async close() {
      await close()
      await store.close()
      await end()
      rmSync(folder, { recursive: true })
    },
  }
}

async function managedOnly(postgres: PostgresOptions | undefined) {
  const root = { key: new Uint8Array(32).fill(1) }
  const store = postgres === undefined ? memoryStore() : postgresKekStore(postgres)
  const managed = await createManagedProvider({ store, root, environment: "test" })
  const keyfold = createKeyfold({ router: createRouter({ managed }) })
  return { managed, keyfold, calls: () => 0, cmk: undefined, end: () => managed.close() }
}

async function bound(cloud: CloudName) {
  const world = await startWorld()
  const { keyId } = await world.bind(cloud, { id: "org_1" })
  const { managed, calls, clouds } = world
  const cmk = { disable: () => clouds[cloud].disable(keyId), enable: () => clouds[cloud].enable(keyId) }
  return { managed, keyfold: world.keyfold(), calls, cmk, end: async () => world[Symbol.asyncDispose]() }
}
