import { type KeyContext, KeyfoldError } from "@keyfold/core"
import type { SweepResult, VaultStore } from "@keyfold/vault"
import { contextOf } from "../context.ts"
import { type HomeOptions, withHome } from "../home.ts"
import { wholeNumber } from "../options.ts"
import { startCount } from "../progress.ts"
import { withExistingVaultStore } from "../vault-store.ts"

type Options = HomeOptions & { json?: true }
type SweepOptions = Options & {
  context?: string[]
  reencrypt?: true
  concurrency: string
  perSecond?: string
  dryRun?: true
}

/** Moves every version of every object to today's routes. */
export async function rewrap(options: SweepOptions): Promise<void> {
  const context = options.context === undefined ? {} : contextOf(options.context)
  const concurrency = wholeNumber(options.concurrency, "--concurrency", 1)
  const perSecond =
    options.perSecond === undefined ? undefined : wholeNumber(options.perSecond, "--per-second", 1)
  await withExistingVaultStore(options, async (store) => {
    if (options.dryRun) return tellDue(store, context, options)
    const { sweep } = await import("@keyfold/vault")
    const bar = await startCount("versions")
    const result = await withHome(options, ({ keyfold }) =>
      sweep({
        ...{
          keyfold,
          store,
          actor: ACTOR,
          kind: options.reencrypt ? "reencrypt" : "rewrap",
          context,
          concurrency,
        },
        ...(perSecond !== undefined && { perSecond }),
        onProgress: ({ done, remaining }) => bar.set(done, done + remaining),
      }),
    ).finally(() => bar.stop())
    tellResult(result, options)
  })
}

async function tellDue(store: VaultStore, context: KeyContext, { json }: Options): Promise<void> {
  const versions = await store.countDue({ sealedBefore: Date.now(), context })
  console.log(json ? JSON.stringify({ versions }) : `${versions} versions would be moved to today's keys`)
}

function tellResult({ done, failed, startedAt }: SweepResult, { json }: Options): void {
  const codes = Object.entries(failed)
  const since = new Date(startedAt).toISOString()
  if (json) console.log(JSON.stringify({ done, failed, since }))
  else
    console.log(
      `moved ${done} versions: everything written before ${since} is under the keys of that time or later`,
    )
  if (codes.length === 0) return
  const told = codes.map(([code, count]) => `${count} × ${code}`).join(", ")
  throw new KeyfoldError("UNAVAILABLE", `some versions could not be moved, and open as before: ${told}`)
}

/** Removes for good what was deleted longer ago than the recovery window. */
export async function purge(options: Options & { recoveryDays: string }): Promise<void> {
  const recoveryDays = wholeNumber(options.recoveryDays, "--recovery-days", 0)
  const { purgeDeleted } = await import("@keyfold/vault")
  await withExistingVaultStore(options, async (store) => {
    const { purged, scrubbed } = await purgeDeleted({ store, actor: ACTOR, recoveryDays })
    if (options.json) console.log(JSON.stringify({ purged, scrubbed }))
    else
      console.log(
        `purged ${purged} objects${scrubbed !== false ? "" : "; their bytes leave the file at the next purge"}`,
      )
  })
}

/** Walks the audit chain. */
export async function audit(options: Options): Promise<void> {
  const { verifyEvents } = await import("@keyfold/vault")
  await withExistingVaultStore(options, async (store) => {
    const { events, purged, hash } = await verifyEvents(store)
    const last = Buffer.from(hash).toString("hex")
    if (options.json) console.log(JSON.stringify({ events, purged, hash: last }))
    else
      console.log(
        `${events} events, in one chain; ${purged} without names, by purges\nlast hash ${last}: keep it elsewhere`,
      )
  })
}

const ACTOR = { id: "cli", name: "keyfold", source: "system" } as const
