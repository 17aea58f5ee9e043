import type { Policy } from "@keyfold/core"
import { type OpeningOptions, openingOf } from "../context.ts"
import { openEnvelopeInput } from "../envelope-input.ts"
import { writeOutput } from "../files.ts"
import { readHead } from "../header-input.ts"
import { type HomeOptions, withHome } from "../home.ts"
import { prefixed, without } from "../streams.ts"

type Options = HomeOptions & OpeningOptions & { input?: string; output?: string; policy?: Policy }

export async function rewrap(options: Options): Promise<void> {
  const how = { ...openingOf(options), ...(options.policy !== undefined && { policy: options.policy }) }
  await withHome(options, async ({ keyfold }) => {
    const envelope = await openEnvelopeInput(options.input, "rewrapping")
    if (envelope.form === "text") {
      const text = await keyfold.rewrap(envelope.text, how)
      await writeOutput(options.output, new Blob([`${text}\n`]).stream())
      return
    }
    const { head, stream } = await readHead(envelope.stream, envelope.size)
    const { headerBytes } = keyfold.inspect(head)
    const header = await keyfold.rewrap(head.subarray(0, headerBytes), how)
    await writeOutput(options.output, prefixed(header, without(headerBytes, stream)))
  })
}
