import { type Command, Option } from "commander"
import { context, home, json, onlyPairs, withExamples, withHomeOptions } from "./options.ts"
import { match } from "./program-bindings.ts"

export function addServeCommand(program: Command): void {
  const serve = program
    .command("serve")
    .description(
      "serve a vault of versioned encrypted objects that WorkOS's own SDKs can talk to, until Ctrl-C; makes the home",
    )
    .option("--host <host>", "the address to listen at", "127.0.0.1")
    .option("--port <n>", "the port, 0 for any free one", "4000")
    .option(
      "--postgres <url>",
      "keep KEKs and objects in PostgreSQL, for several servers; its password in PGPASSWORD",
    )
    .option("--tls-cert <file>", "the certificate chain, PEM, to serve HTTPS")
    .option("--tls-key <file>", "its private key, PEM")
    .option("--insecure-http", "allow plain HTTP at an address that other machines reach")
    .option("--rate-limit <n>", "requests a minute of one API key, 0 for no limit", "60000")
    .option("--recovery-days <days>", "how long a deleted object can be had back", "30")
    .option("--portal <file>", "serve the admin portal to the clouds that this file names, TOML")
    .option(
      "--check-keys <seconds>",
      "how often customers' keys are asked whether they still open, 0 for never",
      "300",
    )
    .option("--log", "print a line of JSON on standard error for each request")
    .action(async (options) => (await import("./commands/serve.ts")).serve(options))
  withExamples(
    withHomeOptions(serve),
    "keyfold serve",
    "keyfold serve --port 0 --json",
    "keyfold serve --postgres postgres://keyfold@db.example/keyfold?sslmode=verify-full",
  )
}

export function addPortalCommands(portal: Command): void {
  const link = portal
    .command("link")
    .description("make a link with which a tenant's administrator sets up, or looks after, its own key")
    .addOption(match())
    .option("--operator", "in place of a tenant: an overview of all bindings, KEKs and events")
    .addOption(
      new Option(
        "--provider <provider...>",
        "clouds to choose from (default: all that the portal has)",
      ).choices(["aws-kms", "azure-keyvault", "gcp-kms"]),
    )
    .option("--owner <name>", "whose key it is; a key serves one owner (default: the match)")
    .option("--expected-region <region>", "where the key must be")
    .option(
      "--expires <time>",
      "how long it can be opened, such as 30m, at most 30d (default: 7d; an operator's 1h, at most 1d)",
    )
    .option("--url <url>", "where browsers reach keyfold serve --portal", "http://127.0.0.1:4000")
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/portal.ts")).link(options))
  withExamples(
    link,
    "keyfold portal link --match organization_id=org_1 --url https://vault.example.com",
    "keyfold portal link --match organization_id=org_1 --provider aws-kms --expires 12h --json",
    "keyfold portal link --operator",
  )
}

export function addApiKeyCommands(apiKey: Command): void {
  const create = apiKey
    .command("create")
    .description("make an API key for the vault's server, and print it, this once; makes the home")
    .argument("<name>", "what it is for")
    .addOption(context())
    .option(
      "--allow <actions>",
      "some of read, write, list, keys, events, portal, with commas between (default: all)",
    )
    .action(async (name, options) => (await import("./commands/api-key.ts")).create(name, options))
  withExamples(
    withHomeOptions(create),
    "keyfold api-key create billing --allow read,list",
    "keyfold api-key create acme -c organization_id=org_1",
  )

  const list = apiKey
    .command("list")
    .description("list the API keys that are good; not the keys themselves, which nobody has")
    .action(async (options) => (await import("./commands/api-key.ts")).list(options))
  withExamples(withHomeOptions(list), "keyfold api-key list --json")

  const revoke = apiKey
    .command("revoke")
    .description("end an API key")
    .argument("<id>", "its id, as list shows it")
    .action(async (id, options) => (await import("./commands/api-key.ts")).revoke(id, options))
  withExamples(withHomeOptions(revoke), "keyfold api-key revoke key_0123…")
}

export function addWebhookCommands(webhook: Command): void {
  const add = webhook
    .command("add")
    .description("send what happens from now on to a URL, and print the secret that signs it, this once")
    .argument("<url>", "https, or http at this machine")
    .option("--events <types>", "types of events, with commas between (default: those of WorkOS Vault)")
    .option("--without-context", "leave out key contexts, organizations, and names of objects and keys")
    .action(async (url, options) => (await import("./commands/webhook.ts")).add(url, options))
  withExamples(
    withHomeOptions(add),
    "keyfold webhook add https://hooks.example.com/keyfold",
    "keyfold webhook add https://hooks.example.com/keyfold --events vault.data.read,vault.dek.read --without-context",
  )

  const list = webhook
    .command("list")
    .description("list webhooks, how far each is behind, and what its receiver last failed with")
    .action(async (options) => (await import("./commands/webhook.ts")).list(options))
  withExamples(withHomeOptions(list), "keyfold webhook list --json")

  const resume = webhook
    .command("resume")
    .description("try a webhook whose receiver failed again at once, from the event that it failed at")
    .argument("<id>", "its id, as list shows it")
    .action(async (id, options) => (await import("./commands/webhook.ts")).resume(id, options))
  withExamples(withHomeOptions(resume), "keyfold webhook resume webhook_0123…")

  const remove = webhook
    .command("remove")
    .description("end a webhook")
    .argument("<id>", "its id, as list shows it")
    .action(async (id, options) => (await import("./commands/webhook.ts")).remove(id, options))
  withExamples(withHomeOptions(remove), "keyfold webhook remove webhook_0123…")
}

export function addVaultCommands(vault: Command): void {
  const rewrap = vault
    .command("rewrap")
    .description(
      "move all objects to today's keys, after a rotation or a new binding; goes on where it was interrupted",
    )
    .addOption(context())
    .option("--reencrypt", "encrypt anew, which also shuts out who kept old headers and their KEKs")
    .option("--concurrency <n>", "versions at work at once", "8")
    .option("--per-second <n>", "versions begun in a second (default: no limit)")
    .option("--dry-run", "only tell how many versions there are")
    .action(async (options) => (await import("./commands/vault.ts")).rewrap(options))
  withExamples(
    withHomeOptions(rewrap),
    "keyfold vault rewrap --dry-run",
    "keyfold vault rewrap -c organization_id=org_1 --per-second 100",
  )

  const exporting = vault
    .command("export")
    .description(
      "write the current values to one encrypted file; in it they are under the keys of the context given, not under their own",
    )
    .addOption(context().makeOptionMandatory())
    .requiredOption("-o, --output <file>", "the file to write")
    .addOption(onlyPairs())
    .action(async (options) => (await import("./commands/vault-transfer.ts")).exportVault(options))
  withExamples(
    withHomeOptions(exporting),
    "keyfold vault export -c purpose=archive -o vault.kf",
    "keyfold vault export -c organization_id=org_1 --only organization_id=org_1 -o org_1.kf",
  )

  const importing = vault
    .command("import")
    .description(
      "add objects under their names; one that was cut off is run again, and goes on; makes the home",
    )
    .requiredOption(
      "--from <source>",
      "workos, with its API key in $WORKOS_API_KEY, or a file of vault export",
    )
    .addOption(context())
    .option("--authorize-embedded", "open the file with the key context that it embeds")
    .option("--update", "compare what is there already, and write a new version where the value is another")
    .option("--host <url>", "where WorkOS's API is (default: https://api.workos.com)")
    .action(async (options) => (await import("./commands/vault-transfer.ts")).importVault(options))
  withExamples(
    withHomeOptions(importing),
    "WORKOS_API_KEY=sk_… keyfold vault import --from workos",
    "keyfold vault import --from vault.kf -c purpose=archive",
  )

  const purge = vault
    .command("purge")
    .description("remove for good what was deleted long enough ago; a running server does so every hour")
    .option("--recovery-days <days>", "how long a deleted object can be had back", "30")
    .action(async (options) => (await import("./commands/vault.ts")).purge(options))
  withExamples(withHomeOptions(purge), "keyfold vault purge --recovery-days 0")

  const audit = vault
    .command("audit")
    .description("verify the audit chain, and print its last hash")
    .action(async (options) => (await import("./commands/vault.ts")).audit(options))
  withExamples(withHomeOptions(audit), "keyfold vault audit --json")
}
