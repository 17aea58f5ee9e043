import { KeyfoldError, type Policy } from "@keyfold/core"
import { aadOf, type OpeningOptions, openingOf } from "../context.ts"
import { openEnvelopeInput } from "../envelope-input.ts"
import { writeOutput } from "../files.ts"
import { readHead } from "../header-input.ts"
import { type HomeOptions, withHome } from "../home.ts"

type Options = HomeOptions &
  OpeningOptions & { input?: string; output?: string; aad?: string; policy?: Policy }

export async function reencrypt(options: Options): Promise<void> {
  const how = { ...openingOf(options), ...aadOf(options.aad) }
  await withHome(options, async ({ keyfold }) => {
    const envelope = await openEnvelopeInput(options.input, "encrypting again")
    if (envelope.form === "text") {
      const text = await keyfold.reencrypt(envelope.text, {
        ...how,
        ...(options.policy !== undefined && { policy: options.policy }),
      })
      await writeOutput(options.output, new Blob([`${text}\n`]).stream())
      return
    }
    const { head, stream } = await readHead(envelope.stream, envelope.size)
    const { policy, embedsContext, segmentBytes, kind } = keyfold.inspect(head)
    if (kind === "data-key")
      throw new KeyfoldError(
        "INVALID_ARGUMENT",
        "a sealed data key is rekeyed by the library, not re-encrypted as a file",
      )
    // Plaintext goes from one stream to the other, segment by segment, and is never written anywhere.
    const { plaintext, context } = await keyfold.decryptStream(stream, how)
    const sealed = await keyfold.encryptStream(plaintext, {
      context,
      policy: options.policy ?? policy,
      embedContext: embedsContext,
      segmentBytes,
      ...aadOf(options.aad),
    })
    await writeOutput(options.output, sealed)
  })
}
