import { existsSync } from "node:fs"
import type { HealthChange } from "@keyfold/byok"
import type { Binding } from "@keyfold/router"
import type { EventRow, EventSubject } from "@keyfold/vault"
import { readBindings } from "./bindings-file.ts"
import { existingHome, type Home, type HomeOptions } from "./home.ts"
import { readConfig } from "./home-config.ts"
import { withVaultStore } from "./vault-store.ts"

type ByokEvent = "vault.byok_key.verification_completed" | "vault.byok_key.deleted"

/** Writes what the command did with a customer's key into the audit log, where the home has a vault. */
export async function recordByok(
  options: HomeOptions,
  type: ByokEvent,
  binding: Pick<Binding, "provider" | "match">,
  verified?: boolean,
): Promise<void> {
  const paths = existingHome(options)
  if ((await readConfig(paths)).postgres === undefined && !existsSync(paths.vault)) return
  const row = await byokEvent(type, binding, verified, "cli")
  await withVaultStore(options, (store) => store.record([row]))
}

export type KeyWatch = {
  /** In seconds. */
  readonly every: number
  readonly record: (event: EventRow) => void
  /** Told of every change, an outage too, which is no event. */
  readonly onChange: (change: HealthChange) => void
  readonly onError: (error: unknown) => void
}

/**
 * Asks every bound key again and again whether it still opens what it wrapped, and records when one was shut or is back.
 * @returns what ends it
 */
export async function watchKeys(
  { paths, clouds, environment }: Home,
  { every, record, onChange, onError }: KeyWatch,
): Promise<() => Promise<void>> {
  const { watchHealth } = await import("@keyfold/byok")
  const stop = new AbortController()
  let bindings: readonly Binding[] = []
  const tell = async (change: HealthChange) => {
    onChange(change)
    const { before, health } = change
    const binding = bindings.find(({ id }) => id === change.bindingId)
    if (binding === undefined || (health.state !== "healthy" && health.state !== "revoked")) return
    // That a key is well when the server starts is no news.
    if (before === undefined && health.state === "healthy") return
    const isWell = health.state === "healthy"
    record(await byokEvent("vault.byok_key.verification_completed", binding, isWell, "server"))
  }
  const watching = watchHealth({
    bindings: async () => (bindings = await readBindings(paths)),
    providers: clouds.providers,
    onChange: (change) => void tell(change).catch(onError),
    ...{ onError, everyMs: every * 1000, environment, signal: stop.signal },
  })
  return async () => {
    stop.abort()
    await watching
  }
}

async function byokEvent(
  type: ByokEvent,
  { provider, match }: Pick<Binding, "provider" | "match">,
  verified: boolean | undefined,
  id: "cli" | "server",
): Promise<EventRow> {
  const { eventRow } = await import("@keyfold/vault")
  const named = NAMES[provider]
  const organizationId = Object.hasOwn(match, "organization_id") ? match.organization_id : undefined
  const subject: EventSubject = {
    ...(named !== undefined && { provider: named }),
    ...(organizationId !== undefined && { organizationId }),
    ...(verified !== undefined && { verified }),
  }
  return eventRow(type, { id, name: "keyfold", source: "system" }, subject)
}

/** As WorkOS's contract names them. */
const NAMES: Readonly<Record<string, NonNullable<EventSubject["provider"]>>> = {
  "aws-kms": "AWS_KMS",
  "azure-keyvault": "AZURE_KEY_VAULT",
  "gcp-kms": "GCP_KMS",
}
