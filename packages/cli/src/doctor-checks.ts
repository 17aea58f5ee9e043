import { existsSync } from "node:fs"
import { stat, statfs } from "node:fs/promises"
import type { Health } from "@keyfold/byok"
import type { Binding } from "@keyfold/router"
import { readBindings } from "./bindings-file.ts"
import { cmkProvider } from "./byok-subject.ts"
import type { CloudId, Clouds } from "./clouds.ts"
import { checkSecrets } from "./doctor-secrets.ts"
import { type Finding, fail, failed, pass, skip } from "./finding.ts"
import { type HomeOptions, homePaths, withHome } from "./home.ts"
import type { HomePaths } from "./root-key-files.ts"

/** keyfold runs on this Node or a later one: the first with `node:sqlite`. */
export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.split(".").map(Number)
  if (major > LEAST_NODE[0] || (major === LEAST_NODE[0] && minor >= LEAST_NODE[1])) {
    return pass("node", `Node ${version}`)
  }
  const fix = `install Node ${LEAST_NODE.join(".")} or a later one`
  return fail("node", "INVALID_ARGUMENT", `Node ${version} is too old`, fix)
}

export function checkHome(options: HomeOptions): Finding {
  const { folder, config } = homePaths(options)
  if (existsSync(config)) return pass("home", `the home is ${folder}`)
  const fix = "make one with keyfold init, or name another with --home or $KEYFOLD_HOME"
  return fail("home", "INVALID_ARGUMENT", `there is no keyfold home at ${folder}`, fix)
}

/** Nobody else may read the root key, or change what decides which keys are used. */
export async function checkPermissions(paths: HomePaths): Promise<Finding> {
  if (process.platform === "win32") return skip("permissions", "Windows has other permissions than modes")
  const rules: readonly (readonly [path: string, forbidden: number, what: string, right: string])[] = [
    [paths.rootKey, 0o077, "read", "600"],
    [paths.newRootKey, 0o077, "read", "600"],
    [paths.folder, 0o022, "change", "700"],
    [paths.config, 0o022, "change", "600"],
    [paths.store, 0o022, "change", "600"],
    [paths.bindings, 0o022, "change", "600"],
    [paths.secrets, 0o022, "change", "600"],
  ]
  for (const [path, forbidden, what, right] of rules) {
    // What is missing is for other checks to say.
    const facts = await stat(path).catch(() => undefined)
    if (facts === undefined || (facts.mode & forbidden) === 0) continue
    return fail("permissions", "INVALID_ARGUMENT", `others may ${what} ${path}`, `run chmod ${right} ${path}`)
  }
  return pass("permissions", "nobody else may read the root key or change the home")
}

/** Opens the store: the root key fits, and the rows are whole. Then the secret slots, whose KEKs are in it. */
export async function checkStore(options: HomeOptions, online: boolean): Promise<readonly Finding[]> {
  try {
    return await withHome(options, async (home) => {
      let keks = 0
      for await (const _ of home.managed.list()) keks++
      const found = `it opens with its root key, and holds ${keks} managed KEK${keks === 1 ? "" : "s"}`
      return [pass("store", found), ...(await checkSecrets(home, online))]
    })
  } catch (error) {
    return [failed("store", error, "put the store and its root key back, or restore a backup")]
  }
}

export async function checkDisk({ folder }: HomePaths): Promise<Finding> {
  try {
    const { bavail, bsize } = await statfs(folder)
    const free = Math.floor((bavail * bsize) / MIB)
    if (free >= LEAST_FREE_MIB) return pass("disk", `${free} MiB are free`)
    const message = `only ${free} MiB are free: a full disk stops keys from being made`
    return { id: "disk", status: "warn", message, fix: "make room", code: null }
  } catch (error) {
    return failed("disk", error, "look at the file system of the home")
  }
}

/** The file is whole, and no change of a binding was cut off. */
export async function checkBindings(
  paths: HomePaths,
): Promise<{ readonly finding: Finding; readonly bindings: readonly Binding[] }> {
  try {
    const bindings = await readBindings(paths)
    const inState = (state: Binding["state"]) => bindings.filter((each) => each.state === state)
    const unfinished = [...inState("pending"), ...inState("verified")]
    if (unfinished.length > 0) {
      const message = `not yet active: ${unfinished.map(({ id }) => id).join(", ")}`
      const fix = "add it again, enable it, or remove it"
      return { finding: { id: "bindings", status: "warn", message, fix, code: null }, bindings }
    }
    const [active, disabled] = [inState("active").length, inState("disabled").length]
    return { finding: pass("bindings", `${active} active, ${disabled} disabled`), bindings }
  } catch (error) {
    return { finding: failed("bindings", error, "put the file back from a copy of the home"), bindings: [] }
  }
}

/** By what was written here before, and by the answers of the clouds that say their time. */
export async function checkClock(bindings: readonly Binding[], online: boolean): Promise<Finding> {
  const fix = "set the clock of this machine"
  const written = bindings.flatMap(({ canaries, history }) => [
    ...canaries.map(({ madeAt }) => Date.parse(madeAt)),
    ...history.map(({ closedAt }) => Date.parse(closedAt)),
  ])
  const newest = Math.max(0, ...written)
  if (newest - Date.now() > MAX_SKEW_MS) {
    const message = "this machine has written times that are yet to come: its clock was, or is, off"
    return fail("clock", "INVALID_ARGUMENT", message, fix)
  }
  if (!online) return skip("clock", "no cloud is asked; what was written here lies in the past")
  for (const url of new Set(bindings.map(addressOf))) {
    const skewMs = url === undefined ? undefined : await skewTo(url)
    if (skewMs === undefined) continue
    if (Math.abs(skewMs) <= MAX_SKEW_MS) return pass("clock", "it agrees with a cloud's")
    const message = `the clock is ${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs > 0 ? "ahead" : "behind"}`
    return fail("clock", "INVALID_ARGUMENT", `${message}: clouds refuse what is signed at a wrong time`, fix)
  }
  return skip("clock", "no cloud told its time; what was written here lies in the past")
}

/** One bound key of each address is asked: what counts here is an answer, whatever it is. */
export async function checkProviders(
  bindings: readonly Binding[],
  clouds: Clouds,
): Promise<readonly Finding[]> {
  const active = bindings.filter(({ state }) => state === "active")
  const byAddress = new Map(active.map((each) => [`${each.provider} ${addressOf(each) ?? ""}`, each]))
  if (byAddress.size === 0) return [skip("provider", "no key is bound")]
  const { checkHealth } = await import("@keyfold/byok")
  return Promise.all(
    [...byAddress.values()].map(async (binding) => {
      const id = binding.provider as CloudId
      try {
        return providerFinding(binding, await checkHealth(cmkProvider(id, await clouds.cloud(id)), binding))
      } catch (error) {
        return failed("provider", error, `look at the installation of ${id}`)
      }
    }),
  )
}

function providerFinding({ provider, keyId }: Binding, { state, message, fix }: Health): Finding {
  if (state === "healthy") return pass("provider", `${provider} answers`)
  const told = `${provider}, asked for ${keyId}: ${message}`
  if (state === "unreachable") return fail("provider", "UNAVAILABLE", told, fix ?? "try again later")
  return { id: "provider", status: "warn", message: told, fix: fix ?? "see keyfold byok status", code: null }
}

/** An address of the key's cloud that answers HTTP. */
function addressOf({ provider, keyId, options }: Binding): string | undefined {
  const { endpoint } = options
  if (provider === "azure-keyvault") return URL.parse(keyId)?.origin
  if (provider === "gcp-kms") return endpoint === undefined ? "https://cloudkms.googleapis.com" : undefined
  return typeof endpoint === "string" ? endpoint : `https://kms.${keyId.split(":")[3]}.amazonaws.com`
}

/** How far our clock is ahead, in milliseconds. */
async function skewTo(url: string): Promise<number | undefined> {
  try {
    const { headers } = await fetch(url, { method: "HEAD", signal: AbortSignal.timeout(3_000) })
    const date = Date.parse(headers.get("date") ?? "")
    return Number.isNaN(date) ? undefined : Date.now() - date
  } catch {
    return undefined // whether it can be reached is another check
  }
}

/** package.json, engines. */
const LEAST_NODE = [22, 13] as const
const MIB = 1024 * 1024
/** A store of a hundred thousand KEKs, and room to copy it. */
const LEAST_FREE_MIB = 100
/** What AWS allows a clock to be off. */
const MAX_SKEW_MS = 5 * 60_000
