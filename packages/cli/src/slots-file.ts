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
  /** Where WorkOS took the value; undefined for one that was only set. */
  readonly host: string | undefined
  /** base64url */
  readonly envelope: string
}

/** A slot still to be filled, or to be found. */
export type SlotId = Pick<Slot, "name" | "context">

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

/** With more of them, each in the place of the one before it. */
export function withSlots(slots: readonly Slot[], added: readonly Slot[]): readonly Slot[] {
  const isNew = (slot: Slot) => !slots.some((each) => isSameSlot(each, slot))
  const kept = slots.map((each) => added.find((slot) => isSameSlot(each, slot)) ?? each)
  return [...kept, ...added.filter(isNew)]
}

/** Whether one would take the other's place. */
export function isSameSlot(a: SlotId, b: SlotId): boolean {
  return a.name === b.name && isSameMatch(a.context, b.context)
}

function parseSlot(value: unknown): Slot {
  const { name, context, host, envelope } = (value ?? {}) as Partial<Record<keyof Slot, unknown>>
  const isSlot = typeof name === "string" && isSlotName(name) && typeof envelope === "string"
  if (!isSlot || !(host === undefined || typeof host === "string")) {
    throw new KeyfoldError("STORE_CORRUPT", "a slot has a name, a context and an envelope")
  }
  return { name, context: parseContext(context as KeyContext).object, host, envelope }
}

const WHAT = "the secret slots"
/** Of one home: they are read, compared and written together. */
const MAX_SLOTS = 1000
