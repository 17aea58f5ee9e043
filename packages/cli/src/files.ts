import { randomBytes } from "node:crypto"
import { createReadStream, fstatSync } from "node:fs"
import { type FileHandle, open, realpath, rename, stat } from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import { Readable } from "node:stream"
import { KeyfoldError } from "@keyfold/core"
import { temporaryFile } from "./cleanup.ts"
import { fileFailure } from "./failure.ts"
import { progressOf } from "./progress.ts"

/** What is read, and its length in bytes if that is known. */
export type Input = { readonly stream: ReadableStream<Uint8Array>; readonly size: number | undefined }

/** A path as the caller means it: pnpm runs scripts in the workspace's folder and tells the caller's. */
export function pathOf(path: string): string {
  return resolve(process.env.INIT_CWD ?? process.cwd(), path)
}

/** Opens a file, or standard input; shows progress under `label`, if there is one, where that takes long. */
export async function openInput(path: string | undefined, label: string | undefined): Promise<Input> {
  if (path === undefined) {
    const facts = fstatSync(process.stdin.fd)
    // Node would read these as empty.
    if (facts.isDirectory() || facts.isBlockDevice() || process.stdin.isTTY)
      throw new KeyfoldError("INVALID_ARGUMENT", "nothing to read: name a file with -i, or pipe data in")
    return { stream: toWeb(process.stdin), size: undefined }
  }
  const absolute = pathOf(path)
  try {
    const facts = await stat(absolute)
    if (facts.isDirectory()) throw new KeyfoldError("INVALID_ARGUMENT", `cannot read ${path}: it is a folder`)
    const size = facts.isFile() ? facts.size : undefined
    const file = await open(absolute)
    const readable = createReadStream(absolute, { fd: file, highWaterMark: CHUNK_BYTES })
    return { stream: toWeb(label === undefined ? readable : progressOf(readable, size, label)), size }
  } catch (error) {
    throw fileFailure(`cannot read ${path}`, error)
  }
}

/**
 * Writes a stream to a file or standard output. A file appears whole or not at all: it is written beside its place
 * under another name, flushed to the disk, and then renamed. A device or a named pipe is written to as it is.
 */
export async function writeOutput(
  path: string | undefined,
  stream: ReadableStream<Uint8Array>,
): Promise<void> {
  if (path === undefined) {
    for await (const chunk of stream) await writeToStdout(chunk)
    return
  }
  const what = `cannot write ${path}`
  const { target, replaceable } = await placeOf(path)
  const written = replaceable ? besideOf(target) : target
  const { keep } = replaceable ? temporaryFile(written) : { keep: () => undefined }
  const file = await open(written, replaceable ? "wx" : "w", 0o600).catch((error: unknown) => {
    throw fileFailure(what, error)
  })
  try {
    // What the source fails with is its own affair, so only the file's part is named as such.
    for await (const chunk of stream) await naming(what, () => writeWhole(file, chunk))
    if (replaceable) await naming(what, () => file.sync())
  } finally {
    await naming(what, () => file.close())
  }
  if (!replaceable) return
  await naming(what, async () => {
    await rename(written, target)
    keep()
    await syncFolder(dirname(target))
  })
}

/** A name beside a file, for what will take its place. */
export function besideOf(target: string): string {
  return join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`)
}

/** Makes a rename durable. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path)
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/** Where an output goes in the end: behind symbolic links, and never in the place of a device. */
async function placeOf(path: string): Promise<{ readonly target: string; readonly replaceable: boolean }> {
  const absolute = pathOf(path)
  try {
    const facts = await stat(absolute)
    if (facts.isDirectory())
      throw new KeyfoldError("INVALID_ARGUMENT", `cannot write ${path}: it is a folder`)
    if (!facts.isFile()) return { target: absolute, replaceable: false }
    return { target: await realpath(absolute), replaceable: true }
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return { target: absolute, replaceable: true }
    throw fileFailure(`cannot write ${path}`, error)
  }
}

async function naming(what: string, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    throw fileFailure(what, error)
  }
}

async function writeWhole(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) at += (await file.write(chunk, at)).bytesWritten
}

/** Waits until the reader has taken it, so that a slow one slows us down. */
function writeToStdout(chunk: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(chunk, (error) => (error ? reject(error) : resolve()))
  })
}

function toWeb(readable: Readable): ReadableStream<Uint8Array> {
  return Readable.toWeb(readable, { strategy: { highWaterMark: 1 } }) as ReadableStream<Uint8Array>
}

/** One segment of a stream. */
const CHUNK_BYTES = 65_536
