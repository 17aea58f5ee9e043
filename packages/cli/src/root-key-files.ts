import { randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import { open as openFile, rename, rm } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { createOnce } from "./create-once.ts"
import { fileFailure } from "./failure.ts"
import { syncFolder } from "./files.ts"

/** The files of a home. */
export type HomePaths = {
  readonly folder: string
  readonly config: string
  readonly rootKey: string
  /** A root key that is about to replace the other. Only the holder of `lock` makes, renames or removes it. */
  readonly newRootKey: string
  readonly lock: string
  readonly store: string
  /** Which contexts use which customers' keys. It comes with the home: a missing one never means "no binding". */
  readonly bindings: string
  /** The objects of `keyfold serve`; there is none before it first runs. */
  readonly vault: string
  /** The secret slots of `keyfold exec`; there is none before the first is set. */
  readonly secrets: string
}

/** Reads 64 hex digits. @throws KeyfoldError `INVALID_ARGUMENT` */
export function parseRootKey(text: string): Uint8Array {
  if (!/^[0-9a-f]{64}\s*$/.test(text)) {
    throw new KeyfoldError("INVALID_ARGUMENT", "a root key file holds 64 lowercase hex digits")
  }
  return new Uint8Array(Buffer.from(text.trim(), "hex"))
}

/** Makes the root key file unless there is one. @returns whether this call did */
export function createRootKey({ rootKey }: HomePaths, key: Uint8Array = randomBytes(32)): Promise<boolean> {
  return createOnce(rootKey, keyText(key))
}

/**
 * Opens with the root key, or with a new one that a rotation has not yet put in its place.
 * @returns what opened, and the path of the key that did
 */
export async function openWithRootKey<T>(
  paths: HomePaths,
  open: (key: Uint8Array) => Promise<T>,
): Promise<{ readonly value: T; readonly path: string }> {
  for (let seen = ""; ; ) {
    const found = await readRootKeys(paths)
    let failure: unknown
    for (const { path, key } of found) {
      try {
        return { value: await open(key), path }
      } catch (error) {
        if (!(error instanceof KeyfoldError) || error.code !== "PERMISSION_DENIED") throw error
        failure ??= error
      }
    }
    // A rotation may have ended between reading the files and opening: try once more where they have changed.
    const now = found.map(({ key }) => keyText(key)).join("")
    if (now === seen) throw failure
    seen = now
  }
}

/** Writes a new root key beside the old one, before the store is changed to it. */
export async function writeNewRootKey({ folder, newRootKey }: HomePaths): Promise<Uint8Array> {
  const key = new Uint8Array(randomBytes(32))
  if (!(await createOnce(newRootKey, keyText(key)))) {
    throw new KeyfoldError("STORE_FAILED", `${newRootKey} is in the way: try again`)
  }
  await syncFolder(folder)
  return key
}

/** Leaves one root key file, the one that opens the store, after a rotation or one that was cut off. */
export async function settleRootKey(paths: HomePaths, opens: string | undefined): Promise<void> {
  if (!existsSync(paths.newRootKey)) return
  if (opens === paths.newRootKey) await rename(paths.newRootKey, paths.rootKey)
  else await rm(paths.newRootKey)
  await syncFolder(paths.folder)
}

async function readRootKeys(paths: HomePaths): Promise<{ path: string; key: Uint8Array }[]> {
  const found: { path: string; key: Uint8Array }[] = []
  // The new one first: it may take the other's place meanwhile, and would be missed in the other order.
  for (const path of [paths.newRootKey, paths.rootKey]) {
    const key = await readRootKey(path)
    if (key !== undefined) found.push({ path, key })
  }
  if (found.length === 0) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `the root key ${paths.rootKey} is missing: put it back, or its KEKs are lost`,
    )
  }
  return found
}

async function readRootKey(path: string): Promise<Uint8Array | undefined> {
  try {
    const file = await openFile(path)
    try {
      const { mode } = await file.stat()
      if ((mode & 0o077) !== 0 && process.platform !== "win32") {
        throw new KeyfoldError(
          "INVALID_ARGUMENT",
          `others may read the root key ${path}: run chmod 600 on it`,
        )
      }
      return parseRootKey(await file.readFile("utf8"))
    } finally {
      await file.close()
    }
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined
    throw fileFailure("cannot read the root key", error)
  }
}

function keyText(key: Uint8Array): string {
  return `${Buffer.from(key).toString("hex")}\n`
}
