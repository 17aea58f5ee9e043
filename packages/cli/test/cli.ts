/** Runs the real command in a process of its own. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"

export const main = join(import.meta.dirname, "../src/main.ts")

export type Run = { readonly code: number | null; readonly stdout: Buffer; readonly stderr: string }

type RunOptions = { input?: Uint8Array | string; env?: NodeJS.ProcessEnv; cwd?: string }

/** A folder that is gone after the tests, and a command that has its home there. */
export function workshop() {
  const folder = mkdtempSync(join(tmpdir(), "keyfold-cli-"))
  afterAll(() => rmSync(folder, { recursive: true, force: true }))
  const env: NodeJS.ProcessEnv = {
    ...process.env,
    KEYFOLD_HOME: join(folder, "home"),
    INIT_CWD: folder,
    NO_COLOR: "1",
  }
  return {
    folder,
    env,
    path: (name: string) => join(folder, name),
    /** Runs to the end. */
    keyfold(args: readonly string[], options: RunOptions = {}): Run {
      const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
        input: options.input ?? "",
        env: { ...env, ...options.env },
        cwd: options.cwd,
        maxBuffer: 2 ** 28,
      })
      return { code: status, stdout, stderr: stderr.toString() }
    },
    /** Runs to the end, and leaves this process free to answer it. */
    run(args: readonly string[], { input = "", env: more = {}, cwd }: RunOptions = {}): Promise<Run> {
      const child = spawn(process.execPath, [main, ...args], { env: { ...env, ...more }, cwd })
      const stdout: Buffer[] = []
      child.stdout.on("data", (chunk) => stdout.push(chunk))
      child.stdin.on("error", () => undefined) // it may end before it has read all
      child.stdin.end(input)
      return ended(child).then((end) => ({ ...end, stdout: Buffer.concat(stdout) }))
    },
    /** Starts it, and lets the test do with it what it likes. */
    start(args: readonly string[], moreEnv: NodeJS.ProcessEnv = {}) {
      return spawn(process.execPath, [main, ...args], { env: { ...env, ...moreEnv } })
    },
  }
}

export const pair = ["-c", "organization_id=org_canary"]

/** Waits for the end of a command that was started. */
export function ended(run: ChildProcess): Promise<{ code: number | null; stderr: string }> {
  let stderr = ""
  run.stderr?.on("data", (chunk) => {
    stderr += chunk
  })
  return new Promise((resolve) => run.on("close", (code) => resolve({ code, stderr })))
}
