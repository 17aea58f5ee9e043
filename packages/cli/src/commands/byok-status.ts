import type { Health } from "@keyfold/byok"
import type { Binding } from "@keyfold/router"
import { isSameMatch, matchText } from "../bindings.ts"
import { readBindings } from "../bindings-file.ts"
import { cmkProvider } from "../byok-subject.ts"
import { type CloudId, createClouds } from "../clouds.ts"
import { contextOf } from "../context.ts"
import { exitCodeOf, printable } from "../failure.ts"
import { existingHome, type HomeOptions } from "../home.ts"

type Options = HomeOptions & { match?: string[]; check: boolean; json?: true }

type Status = {
  readonly binding: Binding
  /** ISO 8601; null where it never was. */
  readonly verifiedAt: string | null
  /** Null for one that was not asked. */
  readonly health: Health | null
}

/** Ends with 4 where a key that routes refuses, with 6 where one cannot be reached, else with 0. */
export async function status(options: Options): Promise<void> {
  const match = options.match && contextOf(options.match, "--match")
  const bindings = await readBindings(existingHome(options))
  const shown = bindings.filter((each) => match === undefined || isSameMatch(each.match, match))
  const found = await lookAt(shown, options.check)
  if (options.json) console.log(JSON.stringify({ bindings: found.map(factsOf) }))
  else await print(found)
  const states = new Set(found.map(({ health }) => health?.state))
  if (states.has("revoked")) process.exitCode = exitCodeOf("KEY_DISABLED")
  else if (states.has("unreachable")) process.exitCode = exitCodeOf("UNAVAILABLE")
  else if (states.has("unknown")) process.exitCode = exitCodeOf("UNKNOWN")
}

async function lookAt(bindings: readonly Binding[], isAsked: boolean): Promise<readonly Status[]> {
  const { checkHealth, proofOf } = await import("@keyfold/byok")
  const clouds = createClouds()
  try {
    return await Promise.all(
      bindings.map(async (binding) => {
        const verifiedAt = proofOf(binding)?.madeAt ?? null
        if (!isAsked || binding.state !== "active") return { binding, verifiedAt, health: null }
        const id = binding.provider as CloudId
        const health = await checkHealth(cmkProvider(id, await clouds.cloud(id)), binding)
        return { binding, verifiedAt, health }
      }),
    )
  } finally {
    await clouds.close()
  }
}

function factsOf({ binding, verifiedAt, health }: Status): object {
  const { id, state, match, provider, keyId, history } = binding
  return { id, state, match, provider, keyId, formerKeys: history.length, verifiedAt, health }
}

async function print(found: readonly Status[]): Promise<void> {
  if (found.length === 0) return console.log("no binding")
  const { default: Table } = await import("cli-table3")
  const table = new Table({
    head: ["state", "match", "provider", "key id", "last validated", "now"],
    style: { head: [], border: [] },
  })
  for (const { binding, verifiedAt, health } of found) {
    const { state, match, provider, keyId } = binding
    table.push([state, matchText(match), provider, keyId, verifiedAt ?? "never", health?.state ?? ""])
  }
  console.log(table.toString())
  for (const { binding, health } of found) {
    if (health !== null && health.state !== "healthy") {
      console.log(`${matchText(binding.match)}: ${health.reason}, ${printable(health.message)}`)
    }
  }
}
