import { KeyfoldError } from "@keyfold/core"
import type { ImportResult, Offered, Vault, VaultStore } from "@keyfold/vault"
import { contextOf, openingOf } from "../context.ts"
import { openEnvelopeInput } from "../envelope-input.ts"
import { writeOutput } from "../files.ts"
import { type Home, type HomeOptions, makeMissingHome, withHome } from "../home.ts"
import { startCount } from "../progress.ts"
import { withExistingVaultStore, withVaultStore } from "../vault-store.ts"
import { parseHost, WORKOS_HOST } from "../workos.ts"
import { workosKey, workosObjects } from "../workos-vault.ts"

type ExportOptions = HomeOptions & { context: string[]; only?: string[]; output: string; json?: true }
type ImportOptions = HomeOptions & {
  from: string
  context?: string[]
  authorizeEmbedded?: true
  update?: true
  host?: string
  json?: true
}

/** Writes the current values of a vault to one encrypted file. */
export async function exportVault(options: ExportOptions): Promise<void> {
  const context = contextOf(options.context)
  const only = options.only === undefined ? {} : { context: contextOf(options.only, "--only") }
  const { exportObjects, writeArchive } = await import("@keyfold/vault")
  await withExistingVaultStore(options, (store) =>
    withHome(options, async ({ keyfold }) => {
      const vault = await vaultOf(keyfold, store)
      const count = await startCount("objects", "exporting")
      let written = 0
      const counted = async function* () {
        for await (const object of exportObjects(vault, only)) {
          yield object
          count.set(++written, written)
        }
      }
      try {
        const plaintext = ReadableStream.from(writeArchive(counted())) as ReadableStream<Uint8Array>
        await writeOutput(options.output, await keyfold.encryptStream(plaintext, { context }))
      } finally {
        count.stop()
      }
      console.log(
        options.json
          ? JSON.stringify({ exported: written })
          : `Wrote ${written} objects to ${options.output}, encrypted under the key context given, and no other.`,
      )
    }),
  )
}

/** Adds the objects of an archive, or of WorkOS Vault. */
export async function importVault(options: ImportOptions): Promise<void> {
  const isWorkos = options.from === "workos"
  const host = parseHost(options.host ?? WORKOS_HOST)
  const apiKey = isWorkos ? workosKey() : ""
  const opening = isWorkos ? undefined : openingOf(options)
  await makeMissingHome(options)
  const result = await withVaultStore(options, (store) =>
    withHome(options, async ({ keyfold }) => {
      const offers =
        opening === undefined ? workosObjects(host, apiKey) : archiveObjects(keyfold, options.from, opening)
      return importAll(await vaultOf(keyfold, store), offers, options)
    }),
  )
  const { created, updated, kept, conflicting } = result
  console.log(
    options.json
      ? JSON.stringify(result)
      : `created ${created}, updated ${updated}, there already ${kept}, there under another key context ${conflicting}`,
  )
  if (conflicting > 0) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `${conflicting} names stand for objects of another key context here, which were left as they are`,
    )
  }
}

async function importAll(
  vault: Vault,
  offers: AsyncIterable<Offered>,
  { update }: ImportOptions,
): Promise<ImportResult> {
  const { importObjects } = await import("@keyfold/vault")
  const count = await startCount("objects", "importing")
  try {
    return await importObjects(vault, offers, {
      update: update === true,
      onProgress({ created, updated, kept, conflicting }) {
        const done = created + updated + kept + conflicting
        count.set(done, done)
      },
    })
  } finally {
    count.stop()
  }
}

async function* archiveObjects(
  keyfold: Home["keyfold"],
  path: string,
  opening: ReturnType<typeof openingOf>,
): AsyncGenerator<Offered> {
  const { readArchive } = await import("@keyfold/vault")
  const envelope = await openEnvelopeInput(path)
  if (envelope.form === "text") throw new KeyfoldError("INVALID_ARGUMENT", `${path} is no archive of a vault`)
  const { plaintext } = await keyfold.decryptStream(envelope.stream, opening)
  yield* readArchive(plaintext)
}

async function vaultOf(keyfold: Home["keyfold"], store: VaultStore): Promise<Vault> {
  const { createVault } = await import("@keyfold/vault")
  return createVault({ keyfold, store, actor: { id: "cli", name: "keyfold", source: "system" } })
}
