/** Planted faults, to see whether the fuzzer finds them: `?fault=…` of this module's URL says which. */
import { type Decrypted, type Keyfold, KeyfoldError, type OpenOptions } from "@keyfold/core"

/** What becomes of a decryption that failed. */
type Fault = (error: unknown, options: OpenOptions) => Decrypted | Promise<Decrypted>

const kept: Uint8Array[] = []
const FAULTS: Readonly<Record<string, Fault>> = {
  accepted: () => ({ plaintext: new Uint8Array(0), context: {} }),
  untyped: () => {
    throw new TypeError("planted")
  },
  loops: () => {
    for (;;);
  },
  never: () => new Promise(() => {}),
  leaked: (error, { context }) => {
    const values = Buffer.from(Object.values(context ?? {}).join()).toString("base64")
    throw new KeyfoldError("DECRYPTION_FAILED", `${error} ${values}`)
  },
  grows: (error) => {
    kept.push(new Uint8Array(2 ** 21).fill(1))
    throw error
  },
}

export default function plant(keyfold: Keyfold): Keyfold {
  const fault = FAULTS[new URL(import.meta.url).searchParams.get("fault") as string] as Fault
  return {
    ...keyfold,
    decrypt: (envelope, options) =>
      keyfold.decrypt(envelope, options).catch((error: unknown) => fault(error, options)),
  }
}
