/** A Chromium from npm, without what a system would have to install for it. */
import { execFile } from "node:child_process"
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { type Browser, chromium } from "playwright-core"

/** Why there is none here; undefined where there is. */
export const unavailable: string | undefined =
  process.platform === "linux" && process.arch === "x64"
    ? undefined
    : `no Chromium from npm for ${process.platform} ${process.arch}`

export async function launchChromium(): Promise<Browser> {
  const folder = await unpacked()
  return chromium.launch({
    executablePath: join(folder, "chromium"),
    // As root, and in most containers, it cannot make its sandbox; it sees pages of this repository only.
    args: ["--no-sandbox"],
    env: { ...process.env, LD_LIBRARY_PATH: join(folder, "al2023/lib") },
  })
}

/** The package holds it compressed: unpacked once, beside it, and whole or not at all where several processes do so. */
async function unpacked(): Promise<string> {
  const cache = join(import.meta.dirname, "../node_modules/.cache")
  const folder = join(cache, "chromium")
  if (existsSync(folder)) return folder
  mkdirSync(cache, { recursive: true })
  const fresh = mkdtempSync(`${folder}-`)
  try {
    // It unpacks into the temporary folder, and the libraries only where it believes to be on Amazon Linux.
    const env = { ...process.env, TMPDIR: fresh, AWS_EXECUTION_ENV: "AWS_Lambda_nodejs22.x" }
    const script = join(import.meta.dirname, "unpack-chromium.mjs")
    await promisify(execFile)(process.execPath, [script], { env })
    if (!existsSync(folder)) renameSync(fresh, folder)
    return folder
  } finally {
    rmSync(fresh, { recursive: true, force: true })
  }
}
