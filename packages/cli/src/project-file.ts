import type { Stats } from "node:fs"
import { readFile, stat } from "node:fs/promises"
import { dirname, join } from "node:path"
import { type KeyContext, KeyfoldError, parseContext } from "@keyfold/core"
import { fileFailure } from "./failure.ts"
import { isSlotName } from "./slot-name.ts"
import { parseToml } from "./toml.ts"

/** What a committed `.keyfold.toml` says of the processes of its folder; never a value. */
export type Project = {
  readonly path: string
  readonly context: KeyContext
  /** The slots that a process needs. */
  readonly names: readonly string[]
}

/**
 * The project of the working directory, by the nearest `.keyfold.toml` in it or above; undefined where there is none.
 * Not by pnpm's `INIT_CWD`: in a script of a package that may be the folder of another one.
 * @throws KeyfoldError `INVALID_ARGUMENT`, without a word of what the file holds: it may be a value in a wrong place
 */
export async function findProject(): Promise<Project | undefined> {
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    const path = join(folder, FILE)
    const facts = await factsOf(path)
    if (facts !== undefined) {
      checkFile(path, facts)
      return parseProject(path, await readText(path))
    }
    if (folder === dirname(folder)) return undefined
  }
}

/** It chooses which values a command gets, so a stranger's is not taken. Root reads what belongs to others as well. */
export function checkFile(path: string, facts: Stats): void {
  const { mode, uid, size } = facts
  if (!facts.isFile()) throw invalid(path, "it is no file")
  if (size > MAX_BYTES) throw invalid(path, `it is longer than ${MAX_BYTES} bytes`)
  const user = process.getuid?.()
  if (user === undefined) return // Windows has other permissions than modes
  if ((mode & 0o002) !== 0) throw invalid(path, "everybody may change it: run chmod o-w on it")
  if (user !== 0 && uid !== user && uid !== 0) throw invalid(path, "it belongs to another user: give -c")
}

async function parseProject(path: string, text: string): Promise<Project> {
  const { context, secrets, ...more } = await parseToml(path, text)
  if (Object.keys(more).length > 0) throw invalid(path, SHAPE)
  if (!Array.isArray(secrets) || secrets.length === 0 || !secrets.every((each) => isName(each))) {
    throw invalid(path, SHAPE)
  }
  if (new Set(secrets).size < secrets.length) throw invalid(path, "secrets names one twice")
  const { pairs, object } = contextIn(path, context)
  for (const { name, value } of pairs) {
    if (secrets.includes(name) || looksLikeAValue(value)) {
      throw invalid(path, "[context] holds what looks like a value to keep secret")
    }
  }
  return { path, context: object, names: secrets }
}

function contextIn(path: string, context: unknown) {
  try {
    return parseContext(context as KeyContext)
  } catch (error) {
    throw invalid(path, `[context] is no key context: ${(error as KeyfoldError).message}`)
  }
}

async function factsOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return undefined
    throw fileFailure(`cannot read ${path}`, error)
  }
}

export async function readText(path: string): Promise<string> {
  return readFile(path, "utf8").catch((error: unknown) => {
    throw fileFailure(`cannot read ${path}`, error)
  })
}

function isName(value: unknown): value is string {
  return typeof value === "string" && isSlotName(value)
}

function invalid(path: string, why: string): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", `${path}: ${why}`)
}

const FILE = ".keyfold.toml"
const MAX_BYTES = 65_536
const SHAPE =
  'it holds secrets = ["NAME", …], names alone, and [context] with its pairs; values are kept with keyfold secrets set, never here'
/** Whether a text that a committed file holds must be a mistake. */
export const looksLikeAValue = (text: string): boolean => LOOKS_LIKE_A_VALUE.test(text)

/** API keys by their vendors' prefixes (WorkOS, Stripe, GitHub, AWS, Slack), PEM, and a URL with a password. */
const LOOKS_LIKE_A_VALUE = /^(sk|rk|whsec|gh[opsu]|xox[bp])[_-]|^AKIA|-----BEGIN |:\/\/[^/]*:[^/]*@/
