import { closeSync, openSync } from "node:fs"
import type { DatabaseSync } from "node:sqlite"
import { fileFailure } from "./failure.ts"

/**
 * Runs `work` while no other process holds the same lock; undefined where one still does after `waitMs`. The lock is
 * SQLite's own on an empty database: the system frees it when the process ends, however that comes.
 */
export async function whileLocked<T>(
  path: string,
  waitMs: number,
  work: () => Promise<T>,
): Promise<{ readonly value: T } | undefined> {
  const lock = await take(path, waitMs)
  if (lock === undefined) return undefined
  try {
    return { value: await work() }
  } finally {
    lock.close()
  }
}

async function take(path: string, waitMs: number): Promise<DatabaseSync | undefined> {
  const { DatabaseSync } = await import("node:sqlite")
  let lock: DatabaseSync | undefined
  try {
    closeSync(openSync(path, "a", 0o600))
    lock = new DatabaseSync(path, { timeout: waitMs })
    lock.exec("BEGIN EXCLUSIVE")
    return lock
  } catch (error) {
    lock?.close()
    if ((error as { errcode?: number }).errcode === SQLITE_BUSY) return undefined
    throw fileFailure("cannot lock the home", error)
  }
}

/** sqlite.org/rescode.html */
const SQLITE_BUSY = 5
