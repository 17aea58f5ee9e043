import { KeyfoldError } from "@keyfold/core"
import { readAll } from "./streams.ts"

/** The variables that WorkOS's SDKs read. */
export const WORKOS_NAMES: readonly string[] = ["WORKOS_API_KEY", "WORKOS_CLIENT_ID"]
export const WORKOS_HOST = "https://api.workos.com"

/** @throws KeyfoldError `INVALID_ARGUMENT` for a value that cannot be WorkOS's, such as the other one of the two */
export function checkWorkosShape(apiKey: string, clientId: string): void {
  for (const [name, value, prefix] of [
    ["WORKOS_API_KEY", apiKey, "sk_"],
    ["WORKOS_CLIENT_ID", clientId, "client_"],
  ] as const) {
    if (value.startsWith(prefix) && VISIBLE.test(value.slice(prefix.length))) continue
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `${name} begins with ${prefix} and has no spaces: copy it from the WorkOS dashboard, API Keys`,
    )
  }
}

/** The origin of an API: https, or plain http on this machine. @throws KeyfoldError `INVALID_ARGUMENT` */
export function parseHost(text: string): string {
  const url = URL.parse(text)
  const isLocal = url !== null && LOCAL.has(url.hostname)
  if (url === null || !(url.protocol === "https:" || (url.protocol === "http:" && isLocal))) {
    throw new KeyfoldError("INVALID_ARGUMENT", "--host is https://NAME, or http://localhost:PORT")
  }
  if (url.href !== `${url.origin}/`) {
    throw new KeyfoldError("INVALID_ARGUMENT", "--host has no user, path or query")
  }
  return url.origin
}

/**
 * Asks WorkOS for one organization with the key; that the client id belongs to it, no call tells.
 * @throws KeyfoldError `PERMISSION_DENIED` where the key is refused, `INVALID_ARGUMENT` where what answers is not WorkOS,
 * `THROTTLED`, `UNAVAILABLE`, `TIMEOUT`
 */
export async function verifyWorkosKey(host: string, apiKey: string): Promise<void> {
  const { status, body } = await ask(host, apiKey)
  if (status === 401 || status === 403) {
    const fix = "copy a valid one from the WorkOS dashboard, API Keys"
    throw new KeyfoldError("PERMISSION_DENIED", `${host} refuses WORKOS_API_KEY: ${fix}`, { fix })
  }
  if (status === 429)
    throw new KeyfoldError("THROTTLED", `${host} answers too many requests: try again later`)
  if (status >= 500) throw new KeyfoldError("UNAVAILABLE", `${host} answers ${status}: try again later`)
  if (status !== 200 || !isList(body)) {
    throw new KeyfoldError("INVALID_ARGUMENT", `what answers at ${host} is not WorkOS's API: look at --host`)
  }
}

/** Never follows a redirection, which could take the key elsewhere. */
async function ask(
  host: string,
  apiKey: string,
): Promise<{ readonly status: number; readonly body: string }> {
  try {
    const { status, body } = await fetch(`${host}/organizations?limit=1`, {
      headers: { authorization: `Bearer ${apiKey}`, accept: "application/json" },
      redirect: "manual",
      signal: AbortSignal.timeout(DEADLINE_MS),
    })
    if (status !== 200 || body === null) {
      await body?.cancel()
      return { status, body: "" }
    }
    return { status, body: new TextDecoder().decode(await readAll(body, MAX_ANSWER_BYTES, tooLong)) }
  } catch (error) {
    if (error instanceof KeyfoldError) throw error
    if ((error as Error).name === "TimeoutError") {
      throw new KeyfoldError(
        "TIMEOUT",
        `${host} did not answer within ${DEADLINE_MS / 1000} s: try again later`,
      )
    }
    const { code } = ((error as Error).cause ?? {}) as { code?: unknown }
    const why = typeof code === "string" ? ` (${code})` : ""
    throw new KeyfoldError("UNAVAILABLE", `cannot reach ${host}${why}: look at --host and the network`)
  }
}

function isList(body: string): boolean {
  try {
    return Array.isArray(JSON.parse(body)?.data)
  } catch {
    return false // some other page
  }
}

function tooLong(): KeyfoldError {
  return new KeyfoldError("INVALID_ARGUMENT", "the answer is longer than one organization's: look at --host")
}

/** Also what an HTTP header can carry. */
const VISIBLE = /^[!-~]{1,500}$/
const LOCAL: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"])
const DEADLINE_MS = 10_000
const MAX_ANSWER_BYTES = 2 ** 20
