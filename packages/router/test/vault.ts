/** A small vault for the router's tests: real managed KEKs, two clouds, and bindings that are kept as JSON. */
import { createKeyfold, type KeyContext, type Keyfold } from "@keyfold/core"
import { createManagedProvider, type ManagedProvider, memoryStore } from "@keyfold/kek-managed"
import { expect } from "vitest"
import { addBinding, type Binding, createRouter, type NewBinding } from "../src/index.ts"
import { type Cloud, cloud } from "./cloud.ts"

export type Vault = {
  readonly managed: ManagedProvider
  readonly aws: Cloud
  readonly azure: Cloud
  readonly save: (binding: Binding) => void
  readonly list: () => Binding[]
  /** With a router that has just read the bindings. */
  readonly keyfold: () => Keyfold
  readonly add: (
    match: KeyContext,
    more?: Partial<NewBinding>,
    keyId?: string,
    from?: Cloud,
  ) => Promise<Binding>
}

export async function createVault(): Promise<Vault> {
  const managed = await createManagedProvider({
    store: memoryStore(),
    root: { key: new Uint8Array(32) },
    environment: "test",
  })
  const aws = cloud("aws-kms")
  const azure = cloud("azure-keyvault", { publicKey: true })
  const rows = new Map<string, string>()
  const save = (binding: Binding) => void rows.set(binding.id, JSON.stringify(binding))
  const list = () => [...rows.values()].map((row): Binding => JSON.parse(row))
  const add: Vault["add"] = (match, more = {}, keyId = `key-${rows.size}`, from = aws) =>
    addBinding({ id: `b${rows.size}`, match, owner: "org_1", ...more }, from.kek(keyId), list(), {
      managed,
      save,
    })
  const keyfold = () =>
    createKeyfold({ router: createRouter({ managed, providers: [aws, azure], bindings: list() }) })
  return { managed, aws, azure, save, list, keyfold, add }
}

export const failure = (code: string) => expect.objectContaining({ name: "KeyfoldError", code })

/** Which providers made the wraps of a new envelope, in slot order. */
export async function providersFor(keyfold: Keyfold, context: KeyContext): Promise<string[]> {
  const { wraps } = keyfold.inspect(await keyfold.encrypt("x", { context }))
  return wraps.map(({ providerId }) => providerId)
}
