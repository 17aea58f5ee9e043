import { existsSync } from "node:fs"
import { KeyfoldError } from "@keyfold/core"
import type { VaultStore } from "@keyfold/vault"
import { existingHome, type HomeOptions } from "./home.ts"
import { readConfig } from "./home-config.ts"
import { openVaultStore } from "./stores.ts"

/** Opens the vault of a home, without its keys, for `work`, and closes it whatever happens. */
export async function withVaultStore<T>(
  options: HomeOptions,
  work: (store: VaultStore) => Promise<T>,
): Promise<T> {
  const paths = existingHome(options)
  const store = await openVaultStore(paths, await readConfig(paths))
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
  const paths = existingHome(options)
  if ((await readConfig(paths)).postgres === undefined && !existsSync(paths.vault)) {
    throw new KeyfoldError("INVALID_ARGUMENT", `there is no vault at ${paths.vault}: keyfold serve makes one`)
  }
  return withVaultStore(options, work)
}
