import { randomBytes } from "node:crypto"
import { createReadStream } from "node:fs"
import { type FileHandle, open, rename, stat } from "node:fs/promises"
import { basename, dirname, join, resolve } from "node:path"
import { Readable } from "node:stream"
import { KeyfoldError } from "@keyfold/core"
import { fileFailure } from "./failure.ts"
import { progressOf } from "./progress.ts"
import { removeTemporaryFiles, temporaryFiles } from "./temporary-files.ts"

/** What is read: its beginning, which is still part of `stream`, and its length in bytes if that is known. */
export type Input = { readonly stream: ReadableStream<Uint8Array>; readonly size: number | undefined }

/** A path as the caller means it: pnpm runs scripts in the workspace's folder and tells the caller's. */
export function pathOf(path: string): string {
  return resolve(process.env.INIT_CWD ?? process.cwd(), path)
}

/** Opens a file, or standard input, and shows progress where that takes long. */
export async function openInput(path: string | undefined, label: string): Promise<Input> {
  if (path === undefined) {
    if (process.stdin.isTTY)
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
    return { stream: toWeb(progressOf(readable, size, label)), size }
  } catch (error) {
    throw fileFailure(`cannot read ${path}`, error)
  }
}

/**
 * Writes a stream to a file or standard output. A file appears whole or not at all: it is written beside its place
 * under another name, flushed to the disk, and then renamed.
 */
export async function writeOutput(
  path: string | undefined,
  stream: ReadableStream<Uint8Array>,
): Promise<void> {
  if (path === undefined) {
    for await (const chunk of stream) await writeToStdout(chunk)
    return
  }
  const target = pathOf(path)
  const temporary = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`)
  const what = `cannot write ${path}`
  const file = await open(temporary, "wx", 0o600).catch((error: unknown) => {
    throw fileFailure(what, error)
  })
  temporaryFiles.add(temporary)
  try {
    // What the source fails with is its own affair, so only the file's part is named as such.
    for await (const chunk of stream) await naming(what, () => writeWhole(file, chunk))
    await naming(what, async () => {
      await file.sync()
      await file.close()
      await rename(temporary, target)
      temporaryFiles.delete(temporary)
      await syncFolder(dirname(target))
    })
  } catch (error) {
    await file.close().catch(() => undefined) // it may be closed already
    removeTemporaryFiles()
    throw error
  }
}

/** All of a stream. @throws KeyfoldError `INVALID_ARGUMENT` above `maxBytes` */
export async function readAll(stream: ReadableStream<Uint8Array>, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of stream) {
    length += chunk.length
    if (length > maxBytes) {
      throw new KeyfoldError(
        "INVALID_ARGUMENT",
        `text envelopes hold at most ${maxBytes} bytes: leave --text out`,
      )
    }
    chunks.push(chunk)
  }
  return new Uint8Array(Buffer.concat(chunks))
}

/** The first `length` bytes, or fewer where there are no more, and a stream that still has all. */
export async function peek(
  stream: ReadableStream<Uint8Array>,
  length: number,
): Promise<{ readonly head: Uint8Array; readonly stream: ReadableStream<Uint8Array> }> {
  const reader = stream.getReader()
  const chunks: Uint8Array[] = []
  let have = 0
  while (have < length) {
    const { done, value } = await reader.read()
    if (done) break
    chunks.push(value)
    have += value.length
  }
  const head = new Uint8Array(Buffer.concat(chunks))
  const whole = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        if (head.length > 0) controller.enqueue(head)
      },
      async pull(controller) {
        const { done, value } = await reader.read()
        if (done) controller.close()
        else controller.enqueue(value)
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  return { head: head.subarray(0, length), stream: whole }
}

/** One stream after another array of bytes. */
export function prefixed(first: Uint8Array, rest: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  return ReadableStream.from(
    (async function* () {
      yield first
      yield* rest
    })(),
  ) as ReadableStream<Uint8Array>
}

/** A stream without its first `length` bytes. */
export function without(length: number, stream: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  let left = length
  return stream.pipeThrough(
    new TransformStream({
      transform(chunk, controller) {
        const rest = chunk.subarray(Math.min(left, chunk.length))
        left -= chunk.length - rest.length
        if (rest.length > 0) controller.enqueue(rest)
      },
    }),
  )
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
