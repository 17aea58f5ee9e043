import type { CmkBinding, CmkProvider } from "@keyfold/byok"
import { type KeyContext, KeyfoldError } from "@keyfold/core"
import type { Binding } from "@keyfold/router"
import { isSameMatch } from "./bindings.ts"
import { readBindings } from "./bindings-file.ts"
import type { Cloud, CloudId } from "./clouds.ts"
import { contextOf } from "./context.ts"
import { existingHome, type HomeOptions } from "./home.ts"
import { cloudOptionsOf, type KeyOptions } from "./key-options.ts"

/** What names a key: its own options, or the match of its binding. */
export type SubjectOptions = HomeOptions &
  KeyOptions & {
    match: string[]
    provider?: CloudId
    keyId?: string
    owner?: string
    expectedRegion?: string
  }

/** A key, bound or not. */
export type Subject = CmkBinding & { readonly provider: CloudId }

/** The key that the options name; the bound one where they name none. */
export async function subjectOf(options: SubjectOptions): Promise<Subject> {
  const match = contextOf(options.match, "--match")
  const { provider, keyId, expectedRegion } = options
  if (provider !== undefined && keyId !== undefined) {
    const { ownerOf } = await import("@keyfold/byok")
    const owner = options.owner ?? ownerOf(match)
    const cloudOptions = cloudOptionsOf({ ...options, provider, keyId })
    return { provider, keyId, owner, match, options: cloudOptions, expectedRegion }
  }
  if (provider !== undefined || keyId !== undefined) {
    throw new KeyfoldError("INVALID_ARGUMENT", "give --provider and --key-id, or neither for a bound key")
  }
  const bound = await boundTo(options, match)
  return { ...bound, provider: bound.provider as CloudId, ...(expectedRegion && { expectedRegion }) }
}

async function boundTo(options: HomeOptions, match: KeyContext): Promise<Binding> {
  const bindings = await readBindings(existingHome(options))
  const found = bindings.find((each) => isSameMatch(each.match, match) && each.state !== "removed")
  if (found !== undefined) return found
  throw new KeyfoldError(
    "INVALID_ARGUMENT",
    "no key is bound to this match: name one by --provider and --key-id",
  )
}

/** A cloud as a validation takes it. */
export function cmkProvider(id: CloudId, { kek, resolveKeyId, hintDenials }: Cloud): CmkProvider {
  return { id, kek, resolveKeyId, ...(hintDenials && { hintDenials }) }
}
