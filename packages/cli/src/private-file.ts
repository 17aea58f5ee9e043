import { open, rename } from "node:fs/promises"
import { dirname } from "node:path"
import { KeyfoldError } from "@keyfold/core"
import { temporaryFile } from "./cleanup.ts"
import { fileFailure } from "./failure.ts"
import { besideOf, syncFolder } from "./files.ts"

/**
 * What a JSON file of version 1 holds that nobody but its owner may change; undefined where there is none. `what` names
 * it in errors.
 * @throws KeyfoldError `INVALID_ARGUMENT` where others may change it, `UNSUPPORTED_VERSION`, `STORE_CORRUPT`, `STORE_FAILED`
 */
export async function readPrivate(
  path: string,
  what: string,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  const text = await readText(path, what)
  if (text === undefined) return undefined
  const file = parseFile(text)
  if (Number.isInteger(file?.version) && file?.version !== VERSION) {
    throw new KeyfoldError("UNSUPPORTED_VERSION", `${path} was written by a newer keyfold: use that one`)
  }
  if (file?.version !== VERSION) throw damaged(path)
  return file
}

/** Puts a JSON file in the place of what was there, durably and at once, for its owner alone. */
export async function replacePrivate(path: string, what: string, content: object): Promise<void> {
  const temporary = besideOf(path)
  const { keep } = temporaryFile(temporary)
  try {
    const file = await open(temporary, "wx", 0o600)
    try {
      await file.writeFile(privateText(content))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    keep()
    await syncFolder(dirname(path))
  } catch (error) {
    throw fileFailure(`cannot write ${what}`, error)
  }
}

/** Such a file's text: indented, for an administrator reads it. */
export function privateText(content: object): string {
  return `${JSON.stringify({ version: VERSION, ...content }, null, 2)}\n`
}

export function damaged(path: string, cause?: unknown): KeyfoldError {
  const why = cause instanceof KeyfoldError ? ` (${cause.message})` : ""
  return new KeyfoldError("STORE_CORRUPT", `${path} is damaged${why}: put it back from a copy of the home`, {
    cause,
  })
}

async function readText(path: string, what: string): Promise<string | undefined> {
  try {
    const file = await open(path)
    try {
      const { mode } = await file.stat()
      if ((mode & 0o022) !== 0 && process.platform !== "win32") {
        throw new KeyfoldError("INVALID_ARGUMENT", `others may change ${path}: run chmod 600 on it`)
      }
      return await file.readFile("utf8")
    } finally {
      await file.close()
    }
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined
    throw fileFailure(`cannot read ${what}`, error)
  }
}

function parseFile(text: string): Readonly<Record<string, unknown>> | null {
  try {
    return JSON.parse(text)
  } catch {
    return null // named by the caller
  }
}

const VERSION = 1
