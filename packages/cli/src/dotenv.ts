import { stat } from "node:fs/promises"
import { parseEnv } from "node:util"
import { KeyfoldError } from "@keyfold/core"
import { fileFailure } from "./failure.ts"
import { pathOf } from "./files.ts"
import { checkFile, looksLikeAValue, readText } from "./project-file.ts"
import { checkSlotName, isSlotName } from "./slot-name.ts"

/** What a `.env` that names slots says: `NAME=keyfold:SLOT`, and settings that are no secrets. */
export type Dotenv = {
  readonly path: string
  /** Slots by the variables that get their values. */
  readonly slots: ReadonlyMap<string, string>
  readonly settings: Readonly<Record<string, string>>
}

/** @throws KeyfoldError `INVALID_ARGUMENT`, without a word of what the file holds where that may be a value */
export async function readDotenv(name: string): Promise<Dotenv> {
  const path = pathOf(name)
  const facts = await stat(path).catch((error: unknown) => {
    throw fileFailure(`cannot read ${name}`, error)
  })
  checkFile(path, facts)
  const slots = new Map<string, string>()
  const settings: Record<string, string> = Object.create(null)
  for (const [variable, text = ""] of Object.entries(parseEnv(await readText(path)))) {
    checkSlotName(variable, false)
    if (text.startsWith(PREFIX)) {
      const slot = text.slice(PREFIX.length)
      if (!isSlotName(slot)) throw invalid(path, `${variable} names no slot: write ${variable}=keyfold:NAME`)
      slots.set(variable, slot)
    } else {
      if (looksLikeAValue(text))
        throw invalid(
          path,
          `${variable} holds what looks like a value to keep secret: keep it with keyfold secrets set`,
        )
      settings[variable] = text
    }
  }
  if (slots.size === 0) throw invalid(path, "it names no slot: write NAME=keyfold:NAME")
  return { path, slots, settings }
}

function invalid(path: string, why: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", `${path}: ${why}`)
}

const PREFIX = "keyfold:"
