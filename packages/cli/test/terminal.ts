import { spawn, spawnSync } from "node:child_process"
import type { TestContext } from "vitest"
import { main } from "./cli.ts"

/** Runs the command on a pseudo-terminal of its own. */
export function terminal(context: TestContext, env: NodeJS.ProcessEnv, args: readonly string[]) {
  const probe = spawnSync("script", ["--version"], { encoding: "utf8" })
  if (!/util-linux/.test(probe.stdout ?? "")) context.skip("no script command of util-linux")
  const quoted = [process.execPath, main, ...args].map((word) => `'${word}'`).join(" ")
  const running = spawn("script", ["-qec", `exec ${quoted}`, "/dev/null"], {
    env: { ...env, SHELL: "/bin/sh" },
  })
  let text = ""
  running.stdout.on("data", (chunk) => {
    text += chunk
  })
  const done = new Promise<number | null>((resolve) => running.on("close", resolve))
  return { send: (keys: string) => running.stdin.write(keys), shown: () => text, done }
}
