import { readFile } from "node:fs/promises"
import { KeyfoldError } from "@keyfold/core"
import { fileFailure } from "./failure.ts"
import type { HomePaths } from "./root-key-files.ts"

/** What a home says of itself in `config.json`, which is made last and makes it whole. */
export type HomeConfig = {
  /** Keeps data apart. */
  readonly environment: string
  /** Where KEKs and objects are, without a password, if not in files of the home. */
  readonly postgres?: string
}

/** @throws KeyfoldError `STORE_CORRUPT`, `UNSUPPORTED_VERSION` */
export async function readConfig({ config }: HomePaths): Promise<HomeConfig> {
  const text = await readFile(config, "utf8").catch((error: unknown) => {
    throw fileFailure("cannot read the home's configuration", error)
  })
  const { version, environment, postgres } = parse(text)
  if (version !== undefined && version !== 1 && version !== 2)
    throw new KeyfoldError("UNSUPPORTED_VERSION", "this home was made by a newer keyfold: use that one")
  const whole =
    typeof environment === "string" && typeof postgres === (version === 2 ? "string" : "undefined")
  if (version === undefined || !whole)
    throw new KeyfoldError("STORE_CORRUPT", `${config} is damaged: restore it`)
  return { environment, ...(typeof postgres === "string" && { postgres }) }
}

/** A home in a database has version 2, so that an older keyfold does not look for its files. */
export function configText({ environment, postgres }: HomeConfig): string {
  const config = postgres === undefined ? { version: 1, environment } : { version: 2, environment, postgres }
  return `${JSON.stringify(config)}\n`
}

/**
 * The URL of a database, as given to `--postgres`.
 * @throws KeyfoldError `INVALID_ARGUMENT` where it is none, or has a password, which other processes could read
 */
export function parsePostgres(text: string): string {
  const url = URL.parse(text)
  if (url === null || !["postgres:", "postgresql:"].includes(url.protocol) || url.hostname === "") {
    throw new KeyfoldError("INVALID_ARGUMENT", "--postgres is postgres://USER@HOST:PORT/DATABASE")
  }
  if (url.password !== "" || url.searchParams.has("password")) {
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      "leave the password out of --postgres: put it into PGPASSWORD or ~/.pgpass",
    )
  }
  return text
}

function parse(text: string): { version?: unknown; environment?: unknown; postgres?: unknown } {
  try {
    return { ...(JSON.parse(text) as object) }
  } catch {
    return {} // named by the caller
  }
}
