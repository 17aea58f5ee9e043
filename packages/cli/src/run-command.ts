import { type ChildProcess, spawn } from "node:child_process"
import { once } from "node:events"
import { constants } from "node:os"
import { isatty } from "node:tty"
import { KeyfoldError } from "@keyfold/core"

/**
 * Runs a command with more variables in its environment, as if it stood in this process's place: the same standard
 * streams and folder, signals are handed on, and this process ends as the command does.
 * @throws KeyfoldError `INVALID_ARGUMENT` where it cannot be started
 */
export async function runCommand(command: readonly string[], values: NodeJS.ProcessEnv): Promise<void> {
  const [file = "", ...args] = command
  const child = start(file, args, { ...process.env, ...values })
  const ended = new Promise<End>((resolve) => {
    child.once("close", (code, signal) => resolve({ code, signal }))
  })
  handOn(child)
  await once(child, "spawn").catch((error: unknown) => {
    throw notStarted(error)
  })
  child.on("error", () => undefined) // a signal that this user may not send to it
  const { code, signal } = await ended
  for (const each of HANDED_ON) process.removeAllListeners(each)
  if (signal !== null && ENDING.has(signal)) {
    process.kill(process.pid, signal)
    // A signal to oneself may take a moment.
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
  // Any other signal could dump this process's core, with the values in it: the number that shells give it says enough.
  process.exitCode = signal === null ? (code ?? 1) : 128 + constants.signals[signal]
}

type End = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

function start(file: string, args: readonly string[], env: NodeJS.ProcessEnv): ChildProcess {
  try {
    return spawn(file, args, { stdio: "inherit", env })
  } catch (error) {
    throw notStarted(error)
  }
}

/** From now on signals are the command's. */
function handOn(child: ChildProcess): void {
  // What is typed on a terminal reaches the command without us: twice would be once too often.
  const hasTerminal = [0, 1, 2].some((fd) => isatty(fd))
  for (const signal of HANDED_ON) {
    process.removeAllListeners(signal)
    process.on(signal, () => {
      if (!(hasTerminal && TYPED.has(signal))) child.kill(signal)
    })
  }
}

/** Without the command's words, among which a value may stand by mistake. */
function notStarted(error: unknown): KeyfoldError {
  const why = {
    ENOENT: "there is no such program, or its folder is gone",
    EACCES: "it is no program, or permission is denied",
    E2BIG: "the values are more than an environment holds",
  }[(error as { code?: string }).code ?? ""]
  return new KeyfoldError("INVALID_ARGUMENT", `cannot start the command: ${why ?? "the system refused"}`)
}

const HANDED_ON = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"] as const
/** By Ctrl-C and Ctrl-\, to every process in the foreground. */
const TYPED: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGQUIT"])
/** Those that end a process without a core dump (signal(7)), and by which a caller may tell how it ended. */
const ENDING: ReadonlySet<NodeJS.Signals> = new Set(["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
