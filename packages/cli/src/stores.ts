import { existsSync, statSync } from "node:fs"
import { KeyfoldError } from "@keyfold/core"
import type { KekStore } from "@keyfold/kek-managed"
import type { VaultStore } from "@keyfold/vault"
import type { HomeConfig } from "./home-config.ts"
import type { HomePaths } from "./root-key-files.ts"

/** Opens the KEK store of a home, or makes it. */
export async function openKekStore(
  paths: HomePaths,
  { postgres }: Pick<HomeConfig, "postgres">,
): Promise<KekStore> {
  if (postgres !== undefined) {
    const { postgresKekStore } = await import("@keyfold/postgres")
    return postgresKekStore({ connectionString: postgres })
  }
  const { sqliteStore } = await import("@keyfold/kek-managed/sqlite")
  return sqliteStore(paths.store)
}

/** Opens the vault of a home, or makes it. */
export async function openVaultStore(
  paths: HomePaths,
  { environment, postgres }: HomeConfig,
): Promise<VaultStore> {
  if (postgres !== undefined) {
    const { postgresVaultStore } = await import("@keyfold/postgres")
    return postgresVaultStore({ connectionString: postgres, environment })
  }
  const { sqliteVaultStore } = await import("@keyfold/vault/sqlite")
  return sqliteVaultStore(paths.vault, { environment })
}

/** A store was made before its home was. @throws KeyfoldError `STORE_FAILED`, `STORE_CORRUPT` where its file was lost since */
export function checkKekStoreFile({ store }: HomePaths): void {
  if (!existsSync(store)) {
    throw new KeyfoldError("STORE_FAILED", `${store} is missing: put it back, or restore a backup`)
  }
  if (statSync(store).size === 0 && !existsSync(`${store}-wal`)) {
    throw new KeyfoldError("STORE_CORRUPT", `${store} is empty: put it back, or restore a backup`)
  }
}
