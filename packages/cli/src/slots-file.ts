import { type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"
import { isSameMatch } from "./bindings.ts"
import { type HomeOptions, whileHomeLocked } from "./home.ts"
import { damaged, readPrivate, replacePrivate } from "./private-file.ts"
import type { HomePaths } from "./root-key-files.ts"
import { isSlotName } from "./slot-name.ts"

/** A value that is kept for processes. */
export type Slot = {
  /** Of the environment variable that it becomes. */
  readonly name: string
  readonly context: KeyContext
  /** base64url */
  readonly envelope: string
}

/** Every slot of a home. @throws KeyfoldError `STORE_CORRUPT`, `UNSUPPORTED_VERSION`, `INVALID_ARGUMENT` where others may change them */
export async function readSlots({ secrets: path }: Pick<HomePaths, "secrets">): Promise<readonly Slot[]> {
  const file = await readPrivate(path, WHAT)
  if (file === undefined) return []
  if (!Array.isArray(file.slots) || file.slots.length > MAX_SLOTS) throw damaged(path)
  const slots = file.slots.map((value: unknown) => {
    try {
      return parseSlot(value)
    } catch (error) {
      throw damaged(path, error)
    }
  })
  if (slots.some((slot, i) => slots.findIndex((each) => isSameSlot(each, slot)) < i)) throw damaged(path)
  return slots
}

/** Replaces the slots by what `change` makes of them, while no other process does. */
export async function changeSlots(
  options: HomeOptions,
  change: (slots: readonly Slot[]) => readonly Slot[],
): Promise<void> {
  await whileHomeLocked(options, async (paths) => {
    const slots = change(await readSlots(paths))
    if (slots.length > MAX_SLOTS) {
      throw new KeyfoldError("INVALID_ARGUMENT", `a home holds at most ${MAX_SLOTS} slots: remove some`)
    }
    await replacePrivate(paths.secrets, WHAT, { slots })
  })
}

/** Whether one would take the other's place. */
export function isSameSlot(a: Omit<Slot, "envelope">, b: Omit<Slot, "envelope">): boolean {
  return a.name === b.name && isSameMatch(a.context, b.context)
}

function parseSlot(value: unknown): Slot {
  const { name, context, envelope } = (value ?? {}) as Partial<Record<keyof Slot, unknown>>
  if (typeof name !== "string" || !isSlotName(name) || typeof envelope !== "string") {
    throw new KeyfoldError("STORE_CORRUPT", "a slot has a name, a context and an envelope")
  }
  return { name, context: parseContext(context as KeyContext).object, envelope }
}

const WHAT = "the secret slots"
/** Of one home: they are read, compared and written together. */
const MAX_SLOTS = 1000
