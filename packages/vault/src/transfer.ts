import { type KeyContext, KeyfoldError } from "@keyfold/core"
import type { Value } from "./object-cipher.ts"
import { equalContexts, equalValues, type Vault } from "./vault.ts"
import { VaultError } from "./vault-error.ts"

/** The current value of an object on its way from one vault to another. */
export type Transferred = { readonly name: string; readonly context: KeyContext; readonly value: Value }

/** An object that may be asked for: what is there already need not be read. */
export type Offered = { readonly name: string; readonly read: () => Promise<Omit<Transferred, "name">> }

/** What became of the objects of an import. */
export type ImportResult = {
  readonly created: number
  /** Got a new version, with `update`. */
  readonly updated: number
  /** Were there already. */
  readonly kept: number
  /** Are there under another key context, and were left as they are. */
  readonly conflicting: number
}

export type ImportOptions = {
  /** Whether an object that is there is compared, and gets a new version where its value is another. Default: it is kept. */
  readonly update?: boolean
  /** Told after each object. */
  readonly onProgress?: (result: ImportResult) => void
  readonly signal?: AbortSignal
}

/**
 * Adds objects to a vault under their names. One that was cut off is run again: names that are there are not read anew.
 * @throws KeyfoldError `ABORTED`, and what source and vault throw; what was added before stays
 */
export async function importObjects(
  vault: Vault,
  offers: AsyncIterable<Offered>,
  { update = false, onProgress, signal }: ImportOptions = {},
): Promise<ImportResult> {
  const result = { created: 0, updated: 0, kept: 0, conflicting: 0 }
  for await (const { name, read } of offers) {
    if (signal?.aborted)
      throw new KeyfoldError("ABORTED", "the import was interrupted: run it again to go on")
    result[await importOne(vault, name, read, update)]++
    onProgress?.({ ...result })
  }
  return result
}

async function importOne(
  vault: Vault,
  name: string,
  read: Offered["read"],
  update: boolean,
): Promise<keyof ImportResult> {
  const there = await vault.describeByName(name).catch((error: unknown) => {
    if (error instanceof VaultError && error.code === "NOT_FOUND") return undefined
    throw error
  })
  if (there !== undefined && !update) return "kept"
  const { context, value } = await read()
  if (there === undefined) {
    await vault.create(name, context, value)
    return "created"
  }
  if (!equalContexts(there.context, context)) return "conflicting"
  const { value: before } = await vault.read(there.id)
  if (equalValues(before, value)) return "kept"
  await vault.update(there.id, value, there.versionId)
  return "updated"
}

/** The current value of every living object, the oldest first; `context` takes those that have all these pairs. */
export async function* exportObjects(
  vault: Vault,
  { context }: { readonly context?: KeyContext } = {},
): AsyncGenerator<Transferred> {
  for (let after: string | undefined; ; ) {
    const page = await vault.list({ limit: 100, order: "asc", after, context })
    for (const { id } of page.objects) {
      const object = await vault.read(id).catch((error: unknown) => {
        // It was deleted since it was listed.
        if (error instanceof VaultError && error.code === "NOT_FOUND") return undefined
        throw error
      })
      if (object !== undefined) yield { name: object.name, context: object.context, value: object.value }
    }
    after = page.after
    if (after === undefined) return
  }
}

/**
 * Objects as lines of JSON, in UTF-8. They hold plaintext: encrypt them (`encryptStream`), which also notices an archive
 * that was cut off.
 */
export async function* writeArchive(objects: AsyncIterable<Transferred>): AsyncGenerator<Uint8Array> {
  yield encodeLine(HEAD)
  for await (const { name, context, value } of objects) {
    const content =
      typeof value === "string" ? { text: value } : { bytes: Buffer.from(value).toString("base64") }
    yield encodeLine({ name, context, ...content })
  }
}

/** Reads what {@link writeArchive} wrote. @throws KeyfoldError `INVALID_ARGUMENT` for anything else */
export async function* readArchive(archive: AsyncIterable<Uint8Array>): AsyncGenerator<Offered> {
  let isHead = true
  for await (const line of linesOf(archive)) {
    const entry = parse(line)
    if (isHead && (entry.archive !== HEAD.archive || entry.version !== HEAD.version)) throw noArchive()
    if (!isHead) yield offerOf(entry)
    isHead = false
  }
  if (isHead) throw noArchive()
}

function offerOf({ name, context, text, bytes }: Record<string, unknown>): Offered {
  const value = typeof bytes === "string" ? new Uint8Array(Buffer.from(bytes, "base64")) : text
  if (typeof name !== "string" || !(typeof value === "string" || value instanceof Uint8Array))
    throw noArchive()
  return { name, read: async () => ({ context: context as KeyContext, value }) }
}

/** Splits at line feeds alone: JSON may hold the other line ends of Unicode. */
async function* linesOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let parts: Uint8Array[] = []
  let length = 0
  for await (const chunk of chunks) {
    let from = 0
    for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, from)) {
      yield Buffer.concat([...parts, chunk.subarray(from, end)]).toString()
      parts = []
      length = 0
      from = end + 1
    }
    length += chunk.length - from
    if (length > MAX_LINE_BYTES) throw noArchive()
    // A copy, for a stream may use its chunk again.
    parts.push(chunk.slice(from))
  }
  if (length > 0) throw noArchive()
}

function parse(line: string): Record<string, unknown> {
  try {
    return { ...(JSON.parse(line) as object) }
  } catch {
    // Not as its cause: the parser's message would quote a value.
    throw noArchive()
  }
}

const encodeLine = (entry: object) => new Uint8Array(Buffer.from(`${JSON.stringify(entry)}\n`))
const noArchive = () =>
  new KeyfoldError("INVALID_ARGUMENT", "this is no archive of a vault, or a damaged one")

const HEAD = { archive: "keyfold vault", version: 1 }
const LINE_FEED = 10
/** 64 MiB of control characters, each six bytes in JSON, with room for name and context. */
const MAX_LINE_BYTES = 2 ** 26 * 6 + 2 ** 16
