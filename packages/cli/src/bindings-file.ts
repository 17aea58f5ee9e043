import { open, rename } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import { temporaryFile } from "./cleanup.ts"
import { createOnce } from "./create-once.ts"
import { fileFailure } from "./failure.ts"
import { besideOf, syncFolder } from "./files.ts"
import type { HomePaths } from "./root-key-files.ts"

/** Makes the file of a home that has no binding yet, unless there is one. */
export function createBindings({ bindings }: HomePaths): Promise<boolean> {
  return createOnce(bindings, textOf([]))
}

/**
 * Every binding, removed ones too. A file that is missing, damaged or only partly valid is an error: a binding that
 * is not seen would mean that a managed KEK takes the customer's place.
 * @throws KeyfoldError `STORE_CORRUPT`, `UNSUPPORTED_VERSION`, `INVALID_ARGUMENT` where others may change it
 */
export async function readBindings({
  bindings: path,
}: Pick<HomePaths, "bindings">): Promise<readonly Binding[]> {
  const text = await readPrivate(path)
  const { parseBinding } = await import("@keyfold/router")
  const file = parseFile(text)
  if (Number.isInteger(file?.version) && file?.version !== VERSION) {
    throw new KeyfoldError("UNSUPPORTED_VERSION", `${path} was written by a newer keyfold: use that one`)
  }
  if (file?.version !== VERSION || !Array.isArray(file.bindings)) throw corrupt(path)
  const bindings = file.bindings.map((value: unknown) => {
    try {
      return parseBinding(value).binding
    } catch (error) {
      throw corrupt(path, error)
    }
  })
  if (new Set(bindings.map(({ id }) => id)).size !== bindings.length) throw corrupt(path)
  return bindings
}

/** Puts all bindings in the place of what was there, durably and at once. Only the holder of the home's lock may. */
export async function writeBindings(
  { bindings: path, folder }: Pick<HomePaths, "bindings" | "folder">,
  bindings: readonly Binding[],
): Promise<void> {
  const temporary = besideOf(path)
  const { keep } = temporaryFile(temporary)
  try {
    const file = await open(temporary, "wx", 0o600)
    try {
      await file.writeFile(textOf(bindings))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
    keep()
    await syncFolder(folder)
  } catch (error) {
    throw fileFailure("cannot write the bindings", error)
  }
}

/** Whoever can change a binding can point it to a key of their own. */
async function readPrivate(path: string): Promise<string> {
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
    if ((error as { code?: string }).code !== "ENOENT") throw fileFailure("cannot read the bindings", error)
    throw new KeyfoldError("STORE_CORRUPT", `${path} is missing: put it back from a copy of the home`)
  }
}

function parseFile(text: string): { readonly version?: unknown; readonly bindings?: unknown } | null {
  try {
    return JSON.parse(text)
  } catch {
    return null // named by the caller
  }
}

function corrupt(path: string, cause?: unknown): KeyfoldError {
  const why = cause instanceof KeyfoldError ? ` (${cause.message})` : ""
  return new KeyfoldError("STORE_CORRUPT", `${path} is damaged${why}: put it back from a copy of the home`, {
    cause,
  })
}

/** Indented, for an administrator reads it. */
function textOf(bindings: readonly Binding[]): string {
  return `${JSON.stringify({ version: VERSION, bindings }, null, 2)}\n`
}

const VERSION = 1
