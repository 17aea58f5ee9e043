/** A backup that is put back by the command, killed at the n-th system call, and put back again. */
import { spawnSync } from "node:child_process"
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const command = [process.execPath, join(import.meta.dirname, "../../packages/cli/src/main.ts")]
const PLAINTEXT = "kept"
const context = ["-c", "organization_id=org_1", "-c", "data_type=note"]

/** A home, its backup, an envelope, and an empty home under the same root key. */
export function prepare(folder: string): void {
  mkdirSync(folder)
  const rootKey = join(folder, "root.hex")
  writeFileSync(rootKey, `${"4b".repeat(32)}\n`, { mode: 0o600 })
  writeFileSync(join(folder, "plain"), PLAINTEXT)
  const home = ["--home", join(folder, "home")]
  keyfold("init", ...home, "--root-key-file", rootKey)
  keyfold("encrypt", ...home, ...context, "-i", join(folder, "plain"), "-o", join(folder, "envelope"))
  keyfold("backup", ...home, "--to", join(folder, "backup"))
  keyfold("init", "--home", join(folder, "empty"), "--root-key-file", rootKey)
}

/**
 * @returns whether there was an n-th such call, how the second restore ended, and whether the envelope opened after it
 */
export function killRestore(folder: string, call: string, n: number) {
  const home = join(folder, "home")
  rmSync(home, { recursive: true })
  cpSync(join(folder, "empty"), home, { recursive: true })
  const restore = ["restore", "--from", join(folder, "backup"), "--home", home]
  const log = join(folder, "strace.log")
  const inject = ["-e", `trace=${call}`, "-e", `inject=${call}:signal=KILL:when=${n}`]
  // strace counts the calls of each thread by itself: with one thread for files, the n-th is the same in every run.
  const env = { ...process.env, UV_THREADPOOL_SIZE: "1" }
  spawnSync("strace", ["-f", "-qq", "-o", log, ...inject, ...command, ...restore], { stdio: "ignore", env })
  const struck = readFileSync(log, "utf8").includes("killed by SIGKILL")
  const again = run(...restore)
  const opened = run("decrypt", "--home", home, ...context, "-i", join(folder, "envelope"))
  // What was restored whole before it was killed is told as a home that has KEKs.
  const ended =
    again.status === 0
      ? "restored"
      : (/^error (\w+): this home has KEKs/m.exec(again.stderr)?.[1] ?? "FAILED")
  return { struck, ended, opens: opened.stdout === PLAINTEXT }
}

const run = (...args: string[]) =>
  spawnSync(command[0] as string, [...command.slice(1), ...args], { encoding: "utf8" })

function keyfold(...args: string[]): void {
  const { status, stderr } = run(...args)
  if (status !== 0) throw new Error(`keyfold ${args[0]}: ${stderr}`)
}
