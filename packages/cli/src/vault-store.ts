import { existsSync } from "node:fs"
import { KeyfoldError } from "@keyfold/core"
import type { VaultStore } from "@keyfold/vault"
import { existingHome, type HomeOptions, readEnvironment } from "./home.ts"

/** Opens the vault of a home, without its keys, for `work`, and closes it whatever happens. */
export async function withVaultStore<T>(
  options: HomeOptions,
  work: (store: VaultStore) => Promise<T>,
): Promise<T> {
  const paths = existingHome(options)
  const environment = await readEnvironment(paths)
  const { sqliteVaultStore } = await import("@keyfold/vault/sqlite")
  const store = sqliteVaultStore(paths.vault, { environment })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

/** The same for what needs a vault that is there. @throws KeyfoldError `INVALID_ARGUMENT` where there is none */
export async function withExistingVaultStore<T>(
  options: HomeOptions,
  work: (store: VaultStore) => Promise<T>,
): Promise<T> {
  const { vault } = existingHome(options)
  if (!existsSync(vault)) {
    throw new KeyfoldError("INVALID_ARGUMENT", `there is no vault at ${vault}: keyfold serve makes one`)
  }
  return withVaultStore(options, work)
}
