import { type Command, Option } from "commander"
import { home, json, withExamples, withHomeOptions } from "./options.ts"

export function addBindingCommands(binding: Command): void {
  const add = withKeyOptions(binding.command("add"), true)
    .description(
      "encrypt and decrypt contexts that hold these pairs under a customer's key, whose managed KEK is closed",
    )
    .addOption(match().makeOptionMandatory())
    .option("--owner <name>", "whose key it is; a key serves one owner (default: the match)")
    .option(
      "--lease-ttl <seconds>",
      "how long the key need not be asked again, at most 3600 (default: 0, off)",
    )
    .option("--replace", "move the binding of this match to this key; the former one still decrypts")
    .action(async (options) => (await import("./commands/binding-add.ts")).add(options))
  withExamples(
    withHomeOptions(add),
    "keyfold binding add --match organization_id=org_1 --provider aws-kms \\",
    "  --key-id arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    "keyfold binding add --match organization_id=org_1 --match data_type=ssn --provider azure-keyvault \\",
    "  --key-id https://customer.vault.azure.net/keys/keyfold",
    "keyfold binding add --match organization_id=org_1 --provider gcp-kms \\",
    "  --key-id projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k",
  )
  add.addHelpText("after", CREDENTIALS)

  const list = binding
    .command("list")
    .description("list bindings, removed ones too")
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/binding.ts")).list(options))
  withExamples(list, "keyfold binding list", "keyfold binding list --json")

  const remove = binding
    .command("remove")
    .description("end a binding; its key still decrypts what it encrypted, until that is rewrapped")
    .addOption(match())
    .option("--id <id>", "the binding, by its id")
    .action(async (options) => (await import("./commands/binding.ts")).remove(options))
  withExamples(withHomeOptions(remove), "keyfold binding remove --match organization_id=org_1")

  const forget = binding
    .command("forget")
    .description("stop reading under a former key of a binding, once all of its data was rewrapped")
    .addOption(match())
    .option("--id <id>", "the binding, by its id")
    .requiredOption("--former <key-id>", "that key, as binding list --json shows it in the history")
    .action(async (options) => (await import("./commands/binding.ts")).forget(options))
  withExamples(
    withHomeOptions(forget),
    "keyfold vault rewrap -c organization_id=org_1",
    "keyfold binding forget --match organization_id=org_1 --former 0123456789abcdef0123456789abcdef",
  )

  const disable = binding
    .command("disable")
    .description("shut the data of a binding, for reading and writing, until it is enabled")
    .addOption(match())
    .option("--id <id>", "the binding, by its id")
    .action(async (options) => (await import("./commands/binding.ts")).disable(options))
  withExamples(withHomeOptions(disable), "keyfold binding disable --match organization_id=org_1")

  const enable = binding
    .command("enable")
    .description("let a disabled binding be used again, or one whose adding was cut off")
    .addOption(match())
    .option("--id <id>", "the binding, by its id")
    .action(async (options) => (await import("./commands/binding.ts")).enable(options))
  withExamples(withHomeOptions(enable), "keyfold binding enable --match organization_id=org_1")
}

export function addEmulateCommand(program: Command): void {
  const emulate = program
    .command("emulate")
    .description("run a local cloud KMS until Ctrl-C, to try bindings; its keys end with it")
    .argument("<cloud>", "aws, azure or gcp")
    .option("--port <port>", "where it listens on 127.0.0.1; 0 takes any free port", "0")
    .addOption(json())
    .action(async (cloud, options) => (await import("./commands/emulate.ts")).emulate(cloud, options))
  withExamples(emulate, "keyfold emulate aws", "keyfold emulate azure --port 8443 --json")
}

/** Adds what names a key and tells how it is reached. */
export function withKeyOptions(command: Command, isMandatory: boolean): Command {
  return command
    .addOption(
      new Option("--provider <provider>", "where the key is")
        .choices(["aws-kms", "azure-keyvault", "gcp-kms"])
        .makeOptionMandatory(isMandatory),
    )
    .addOption(
      new Option(
        "--key-id <id>",
        "the key: an ARN or alias, https://…/keys/N/V, or projects/…/cryptoKeys/K",
      ).makeOptionMandatory(isMandatory),
    )
    .option("--region <region>", "aws-kms: of an alias (default: $AWS_REGION)")
    .option("--endpoint <address>", "aws-kms: a URL; gcp-kms: HOST:PORT; in place of the cloud's own")
    .option("--role <arn>", "aws-kms: a role to assume, for a key of another account")
    .option("--external-id <id>", "aws-kms: the external id which that role wants")
    .option(
      "--authority <url>",
      "azure-keyvault: in place of Microsoft Entra; the key may then be at any host",
    )
    .option("--ca-file <file>", "azure-keyvault: certificates (PEM) to trust for this key, and no others")
    .addOption(
      new Option(
        "--algorithm <name>",
        "azure-keyvault: how it wraps (default: RSA-OAEP-256, or A256GCM for a symmetric key)",
      ).choices(["RSA-OAEP-256", "A256GCM", "A256KW"]),
    )
    .option("--tenant-id <id>", "azure-keyvault: of the vault, where it is not the credential's own")
    .option("--insecure-emulator", "gcp-kms: no TLS and no credentials, for an emulator on this machine")
}

export const match = () =>
  new Option(
    "--match <name=value>",
    "a pair that a context must hold; repeat it for a binding of several",
  ).argParser((pair: string, before: string[] = []) => [...before, pair])

export const CREDENTIALS = `
Credentials come from each cloud's standard environment: the AWS SDK's default chain, DefaultAzureCredential, and Google's
application default credentials. None is stored. A key is asked once, when it is added; its alias, or its id without a
version, is resolved then. Bindings that overlap must be nested and of one owner: give both the same --owner.
`
