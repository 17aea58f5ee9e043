import { type KeyContext, KeyfoldError } from "@keyfold/core"
import { isSameMatch } from "./bindings.ts"
import { contextOf } from "./context.ts"
import { findProject, type Project } from "./project-file.ts"
import type { Slot } from "./slots-file.ts"

/** Whose slots a command is about: those of `-c`, or of the project of the working directory. */
export type Choice = { readonly context: KeyContext; readonly project: Project | undefined }

/** `-c` goes first, and no file is then read. @throws KeyfoldError `INVALID_CONTEXT`, `INVALID_ARGUMENT` */
export async function chooseContext(pairs: readonly string[] | undefined): Promise<Choice> {
  if (pairs !== undefined) return { context: contextOf(pairs), project: undefined }
  const project = await findProject()
  if (project !== undefined) return { context: project.context, project }
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    "give the key context with -c name=value, or in a .keyfold.toml of this folder or one above",
  )
}

/**
 * The slots that a process gets: those a file names, or all of the context.
 * @throws KeyfoldError `INVALID_ARGUMENT` where one is missing
 */
export function chooseSlots(
  slots: readonly Slot[],
  context: KeyContext,
  wanted: Pick<Project, "path" | "names"> | undefined,
): readonly Slot[] {
  const found = slots.filter((each) => isSameMatch(each.context, context))
  if (wanted === undefined) {
    if (found.length > 0) return found
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "no slot has exactly this context: keyfold secrets set makes one, keyfold secrets list shows those there are",
    )
  }
  const { path, names } = wanted
  const missing = names.filter((name) => !found.some((each) => each.name === name))
  if (missing.length === 0) return found.filter(({ name }) => names.includes(name))
  const commands = missing.map((name) => `keyfold secrets set ${name}`).join(", ")
  throw new KeyfoldError("INVALID_ARGUMENT", `not set yet of what ${path} names: run ${commands}`)
}
