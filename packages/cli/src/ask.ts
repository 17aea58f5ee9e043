import { createInterface } from "node:readline/promises"
import { Writable } from "node:stream"
import { KeyfoldError } from "@keyfold/core"

/** Asks on the terminal, without showing what is typed. @throws KeyfoldError `ABORTED` where the terminal ends first */
export async function askSilently(question: string): Promise<string> {
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() })
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true })
  // Now that the terminal echoes nothing any more: who answers at once must not see the answer.
  process.stderr.write(question)
  terminal.on("SIGINT", () => process.kill(process.pid, "SIGINT"))
  const ended = new Promise<never>((_, reject) => {
    terminal.once("close", () => reject(new KeyfoldError("ABORTED", "nothing was typed")))
  })
  try {
    return await Promise.race([terminal.question(""), ended])
  } finally {
    terminal.close()
    process.stderr.write("\n")
  }
}
