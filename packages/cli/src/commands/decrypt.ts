import { aadOf, type OpeningOptions, openingOf } from "../context.ts"
import { openEnvelopeInput } from "../envelope-input.ts"
import { writeOutput } from "../files.ts"
import { type HomeOptions, withHome } from "../home.ts"

type Options = HomeOptions & OpeningOptions & { input?: string; output?: string; aad?: string }

export async function decrypt(options: Options): Promise<void> {
  const how = { ...openingOf(options), ...aadOf(options.aad) }
  await withHome(options, async ({ keyfold }) => {
    const envelope = await openEnvelopeInput(options.input, "decrypting")
    if (envelope.form === "bytes") {
      const { plaintext } = await keyfold.decryptStream(envelope.stream, how)
      await writeOutput(options.output, plaintext)
    } else {
      const { plaintext } = await keyfold.decrypt(envelope.text, how)
      await writeOutput(options.output, ReadableStream.from([plaintext]) as ReadableStream<Uint8Array>)
    }
  })
}
