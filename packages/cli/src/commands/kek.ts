import { KeyfoldError, parseContext } from "@keyfold/core"
import type { ManagedKeyInfo, ManagedProvider } from "@keyfold/kek-managed"
import { contextOf } from "../context.ts"
import { type HomeOptions, withHome } from "../home.ts"

type Options = HomeOptions & { context?: string[]; keyId?: string; days?: string; json?: true }
type Change = "rotate" | "disable" | "enable" | "schedule-deletion" | "cancel-deletion"

export async function list(options: Options): Promise<void> {
  await withHome(options, async ({ managed }) => {
    const wanted =
      options.context === undefined
        ? undefined
        : (await keysOf(managed, options.context)).map(({ keyId }) => keyId)
    const found: ManagedKeyInfo[] = []
    for await (const info of managed.list()) {
      if (wanted !== undefined && !wanted.includes(info.keyId)) continue
      if (options.json) found.push(info)
      else await print(info, found)
    }
    if (options.json) console.log(JSON.stringify({ keks: found.map(toJson) }))
    else await printTable(found, true)
  })
}

export async function change(name: Change, options: Options): Promise<void> {
  await withHome(options, async ({ managed }) => {
    const keyId = await oneKeyId(managed, options)
    const info = await {
      rotate: () => managed.rotate(keyId),
      disable: () => managed.disable(keyId),
      enable: () => managed.enable(keyId),
      "schedule-deletion": () => managed.scheduleDeletion(keyId, Number(options.days)),
      "cancel-deletion": () => managed.cancelDeletion(keyId),
    }[name]()
    if (options.json) {
      // A change does not tell how often a KEK was used; a list does.
      const { wraps: _, unwraps: _unwraps, lastUsedAt: _last, ...state } = info
      console.log(JSON.stringify(state))
    } else {
      const until =
        info.deletionAt === undefined ? "" : `, to be destroyed on ${info.deletionAt.toISOString()}`
      console.log(`KEK ${info.keyId}: version ${info.version}, ${info.state}${until}`)
    }
  })
}

/** With one kind of time; a KEK that was never used has no last one. */
function toJson({ lastUsedAt, ...info }: ManagedKeyInfo): object {
  return { ...info, ...(lastUsedAt > 0 && { lastUsedAt: new Date(lastUsedAt) }) }
}

async function oneKeyId(managed: ManagedProvider, { keyId, context }: Options): Promise<string> {
  if ((keyId === undefined) === (context === undefined)) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "name the KEK by --key-id, or by the one pair it serves with -c name=value",
    )
  }
  if (keyId !== undefined) return keyId
  const keys = await keysOf(managed, context as string[])
  if (keys.length !== 1) {
    throw new KeyfoldError("INVALID_ARGUMENT", "each pair has a KEK of its own: give one -c name=value")
  }
  return (keys[0] as ManagedKeyInfo).keyId
}

/** The KEKs of pairs; none is made. @throws KeyfoldError `KEY_NOT_FOUND` */
async function keysOf(managed: ManagedProvider, context: readonly string[]): Promise<ManagedKeyInfo[]> {
  return Promise.all(
    parseContext(contextOf(context)).pairs.map(async (pair) => {
      const info = await managed.describePair(pair)
      if (info === undefined)
        throw new KeyfoldError(
          "KEY_NOT_FOUND",
          `the pair ${pair.name} has no KEK: nothing was encrypted under it yet`,
        )
      return info
    }),
  )
}

/** Prints page by page, so that a million KEKs need no memory. */
async function print(info: ManagedKeyInfo, page: ManagedKeyInfo[]): Promise<void> {
  page.push(info)
  if (page.length < PAGE) return
  await printTable(page, false)
  page.length = 0
}

async function printTable(infos: readonly ManagedKeyInfo[], last: boolean): Promise<void> {
  if (infos.length === 0) {
    if (last) console.log("no KEK")
    return
  }
  const { default: Table } = await import("cli-table3")
  const table = new Table({
    head: ["key id", "version", "state", "made", "wraps", "unwraps", "last used"],
    style: { head: [], border: [] },
  })
  for (const { keyId, version, state, closed, createdAt, wraps, unwraps, lastUsedAt, deletionAt } of infos) {
    const until = deletionAt === undefined ? "" : ` ${deletionAt.toISOString().slice(0, 10)}`
    const used = lastUsedAt === 0 ? "-" : new Date(lastUsedAt).toISOString().slice(0, 19)
    table.push([
      keyId,
      version,
      `${state}${until}${closed ? ", closed" : ""}`,
      createdAt.toISOString().slice(0, 19),
      wraps,
      unwraps,
      used,
    ])
  }
  console.log(table.toString())
}

const PAGE = 200
