import { KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import { createOnce } from "./create-once.ts"
import { damaged, privateText, readPrivate, replacePrivate } from "./private-file.ts"
import type { HomePaths } from "./root-key-files.ts"

/** Makes the file of a home that has no binding yet, unless there is one. */
export function createBindings({ bindings }: HomePaths): Promise<boolean> {
  return createOnce(bindings, privateText({ bindings: [] }))
}

/**
 * Every binding, removed ones too. A file that is missing, damaged or only partly valid is an error: a binding that
 * is not seen would mean that a managed KEK takes the customer's place.
 * @throws KeyfoldError `STORE_CORRUPT`, `UNSUPPORTED_VERSION`, `INVALID_ARGUMENT` where others may change it
 */
export async function readBindings({
  bindings: path,
}: Pick<HomePaths, "bindings">): Promise<readonly Binding[]> {
  // Whoever can change a binding can point it to a key of their own.
  const file = await readPrivate(path, "the bindings")
  if (file === undefined) {
    throw new KeyfoldError("STORE_CORRUPT", `${path} is missing: put it back from a copy of the home`)
  }
  if (!Array.isArray(file.bindings)) throw damaged(path)
  const { parseBinding } = await import("@keyfold/router")
  const bindings = file.bindings.map((value: unknown) => {
    try {
      return parseBinding(value).binding
    } catch (error) {
      throw damaged(path, error)
    }
  })
  if (new Set(bindings.map(({ id }) => id)).size !== bindings.length) throw damaged(path)
  return bindings
}

/** Puts all bindings in the place of what was there, durably and at once. Only the holder of the home's lock may. */
export function writeBindings(
  { bindings: path }: Pick<HomePaths, "bindings">,
  bindings: readonly Binding[],
): Promise<void> {
  return replacePrivate(path, "the bindings", { bindings })
}
