import type { EnvelopeFacts } from "@keyfold/core"
import { createKeyfold } from "@keyfold/core"
import { openEnvelopeInput } from "../envelope-input.ts"
import { readHead } from "../header-input.ts"

type Options = { input?: string; json?: true }

export async function inspect(options: Options): Promise<void> {
  const facts = await factsOf(options.input)
  console.log(options.json ? JSON.stringify(facts) : await table(facts))
}

async function factsOf(path: string | undefined): Promise<EnvelopeFacts> {
  // Looking needs no key: a router that has none.
  const keyfold = createKeyfold({ router: { forWriting: () => [], forReading: () => [] } })
  const envelope = await openEnvelopeInput(path)
  if (envelope.form === "text") return keyfold.inspect(envelope.text)
  const { head, total } = await readHead(envelope.stream, envelope.size)
  // Where nobody can tell how long a pipe is, only the header is described.
  return keyfold.inspect(head, total ?? keyfold.inspect(head).headerBytes)
}

/** The facts as a small table; shared with the demo. */
export async function table(facts: EnvelopeFacts): Promise<string> {
  const { default: Table } = await import("cli-table3")
  const style = { head: [], border: [] }
  const summary = new Table({ style })
  summary.push(
    ["format", `version ${facts.version}, suite ${facts.suite}, ${facts.kind}`],
    ["policy", `${facts.policy}, ${facts.pairCount} pair${facts.pairCount === 1 ? "" : "s"}`],
    ["header", `${facts.headerBytes} bytes${facts.embedsContext ? ", with the key context" : ""}`],
    [
      "plaintext",
      facts.plaintextBytes === undefined
        ? "unknown length"
        : `${facts.plaintextBytes} bytes in segments of ${facts.segmentBytes}`,
    ],
  )
  const wraps = new Table({
    head: ["wrap", "provider", "key id", "version", "pairs", "role", "bytes"],
    style,
  })
  facts.wraps.forEach((wrap, i) => {
    const pairs = wrap.covers.map((pair) => pair + 1).join(", ")
    wraps.push([i, wrap.providerId, wrap.keyId, wrap.keyVersion || "-", pairs, wrap.role, wrap.wrappedBytes])
  })
  return `${summary.toString()}\n${wraps.toString()}\nPairs are numbered in the order of their names. Nothing here is authentic before it is decrypted.`
}
