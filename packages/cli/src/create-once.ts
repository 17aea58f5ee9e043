import { randomBytes } from "node:crypto"
import { link, open, rm } from "node:fs/promises"
import { temporaryFile } from "./cleanup.ts"

/** Writes a file that appears whole, for its owner alone, and only if there is none; says whether this call made it. */
export async function createOnce(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${randomBytes(6).toString("hex")}.tmp`
  const { keep } = temporaryFile(temporary)
  try {
    const file = await open(temporary, "wx", 0o600)
    try {
      await file.writeFile(text)
      await file.sync()
    } finally {
      await file.close()
    }
    await link(temporary, path)
    return true
  } catch (error) {
    if ((error as { code?: string }).code === "EEXIST") return false
    throw error
  } finally {
    await rm(temporary, { force: true })
    keep()
  }
}
