import { Command, Option } from "commander"
import manifest from "../package.json" with { type: "json" }
import {
  context,
  home,
  input,
  json,
  output,
  passphraseFile,
  policy,
  withExamples,
  withHomeOptions,
  withOpeningOptions,
} from "./options.ts"
import { addBindingCommands, addEmulateCommand } from "./program-bindings.ts"
import { addByokCommands } from "./program-byok.ts"
import { addExecCommand, addSecretsCommands } from "./program-secrets.ts"
import {
  addApiKeyCommands,
  addPortalCommands,
  addServeCommand,
  addVaultCommands,
  addWebhookCommands,
} from "./program-vault.ts"

/** The command line; each subcommand loads what it needs when it runs, so that starting stays quick. */
export function buildProgram(): Command {
  const program = new Command("keyfold")
  program
    .description(
      "Encrypts data under a key context, with one key-encrypting key (KEK) for each of its pairs.",
    )
    .version(manifest.version)
    // Subcommands made after this inherit it: what went wrong is printed in one place, failWith.
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .showHelpAfterError(false)
    .addHelpText("after", OVERVIEW)
  addDataCommands(program)
  addKekCommands(program.command("kek").description("list and change managed KEKs"))
  addRootCommands(program.command("root").description("change what protects the KEK store"))
  addBindingCommands(program.command("binding").description("use customers' own keys in their cloud KMS"))
  addByokCommands(program.command("byok").description("validate customers' own keys"))
  addSecretsCommands(program.command("secrets").description("keep values for processes, encrypted"))
  addExecCommand(program)
  addStoreCommands(program)
  addServeCommand(program)
  addApiKeyCommands(program.command("api-key").description("say who may use the vault's server"))
  addWebhookCommands(program.command("webhook").description("send the vault's events to a URL, signed"))
  addPortalCommands(program.command("portal").description("let tenants set up their own keys in a browser"))
  addVaultCommands(program.command("vault").description("look after the vault's objects"))
  addEmulateCommand(program)
  addDoctorCommand(program)
  return program
}

function addDataCommands(program: Command): void {
  const encrypt = program
    .command("encrypt")
    .description("encrypt a file or standard input; makes the home and the KEKs that are missing")
    .addOption(context().makeOptionMandatory())
    .addOption(input())
    .addOption(output())
    .option("--aad <text>", "additional authenticated data, needed again to decrypt")
    .addOption(policy("all: every KEK must take part; any: each alone opens").default("all"))
    .option("--embed-context", "store the key context, readable by anyone, in the envelope")
    .option("--text", "write base64url text instead of bytes")
    .action(async (options) => (await import("./commands/encrypt.ts")).encrypt(options))
  withExamples(
    withHomeOptions(encrypt),
    "keyfold encrypt -c organization_id=org_1 -c data_type=ssn -i ssn.txt -o ssn.kf",
    "tar c folder | keyfold encrypt -c user=u_1 > folder.tar.kf",
  )

  const decrypt = program
    .command("decrypt")
    .description("decrypt a file or standard input")
    .option("--aad <text>", "the additional authenticated data that was given to encrypt")
    .action(async (options) => (await import("./commands/decrypt.ts")).decrypt(options))
  withExamples(
    withOpeningOptions(decrypt),
    "keyfold decrypt -c organization_id=org_1 -c data_type=ssn -i ssn.kf",
    "keyfold decrypt -c user=u_1 < folder.tar.kf | tar x",
  )

  const inspect = program
    .command("inspect")
    .description("describe an envelope without any key")
    .addOption(input())
    .addOption(json())
    .action(async (options) => (await import("./commands/inspect.ts")).inspect(options))
  withExamples(inspect, "keyfold inspect -i ssn.kf", "keyfold inspect --json < ssn.kf")

  const rewrap = program
    .command("rewrap")
    .description("wrap under today's KEKs again; the payload stays byte for byte")
    .addOption(policy("a new policy"))
    .action(async (options) => (await import("./commands/rewrap.ts")).rewrap(options))
  withExamples(withOpeningOptions(rewrap), "keyfold rewrap -c organization_id=org_1 -i ssn.kf -o ssn.kf")

  const reencrypt = program
    .command("reencrypt")
    .description("encrypt again under a new data key, which ends the use of kept old headers")
    .option("--aad <text>", "the additional authenticated data, kept")
    .addOption(policy("a new policy"))
    .action(async (options) => (await import("./commands/reencrypt.ts")).reencrypt(options))
  withExamples(
    withOpeningOptions(reencrypt),
    "keyfold reencrypt -c organization_id=org_1 -i ssn.kf -o ssn.kf",
  )
}

function addKekCommands(kek: Command): void {
  const list = kek
    .command("list")
    .description("list KEKs, or those of some pairs")
    .addOption(context())
    .action(async (options) => (await import("./commands/kek.ts")).list(options))
  withExamples(withHomeOptions(list), "keyfold kek list", "keyfold kek list -c organization_id=org_1 --json")

  for (const [name, description] of KEK_CHANGES) {
    const command = kek
      .command(name)
      .description(description)
      .option("--key-id <id>", "the KEK, by its id")
      .addOption(context())
      .action(async (options) => (await import("./commands/kek.ts")).change(name, options))
    if (name === "schedule-deletion")
      command.option("--days <days>", "how long it can be had back, 7 to 365", "30")
    withExamples(
      withHomeOptions(command),
      `keyfold kek ${name} -c organization_id=org_1`,
      `keyfold kek ${name} --key-id 0123456789abcdef0123456789abcdef`,
    )
  }
}

function addRootCommands(root: Command): void {
  const rotate = root
    .command("rotate")
    .description("a new root key file; KEKs and data stay as they are")
    .action(async (options) => (await import("./commands/root.ts")).rotate(options))
  withExamples(withHomeOptions(rotate), "keyfold root rotate")

  const passphrase = root
    .command("passphrase")
    .description("set or change the passphrase")
    .option("--new-passphrase-file <file>", "the new passphrase, in a file (default: asked for twice)")
    .action(async (options) => (await import("./commands/root.ts")).passphrase(options))
  withExamples(
    withHomeOptions(passphrase),
    "keyfold root passphrase",
    "keyfold root passphrase --passphrase-file old.txt --new-passphrase-file new.txt",
  )
}

function addStoreCommands(program: Command): void {
  const init = program
    .command("init")
    .description("make a home: a root key (mode 0600) and an empty KEK store")
    .option("--passphrase", "protect it by a passphrase, asked for twice, instead of a key file")
    .option(
      "--root-key-file <file>",
      "take this root key over, 64 hex digits, for a restore or another machine",
    )
    .option(
      "--postgres <url>",
      "keep KEKs and objects in PostgreSQL instead of files; its password in PGPASSWORD",
    )
    .addOption(home())
    .addOption(passphraseFile())
    .addOption(json())
    .action(async (options) => (await import("./commands/init.ts")).init(options))
  withExamples(
    init,
    "keyfold init",
    "keyfold init --home /srv/keyfold --passphrase",
    "keyfold init --root-key-file root.key --postgres postgres://keyfold@db.example/keyfold",
  )

  const backup = program
    .command("backup")
    .description(
      "copy the KEK store to a new file, sealed as it is, and beside it the bindings, the vault and the secret slots; the root key is in none",
    )
    .requiredOption("--to <file>", "the new file")
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/backup.ts")).backup(options))
  withExamples(backup, "keyfold backup --to keks.backup")

  const restore = program
    .command("restore")
    .description("put a backup into a home that has no KEK yet and the root key of the backup")
    .requiredOption("--from <file>", "the backup")
    .action(async (options) => (await import("./commands/backup.ts")).restore(options))
  withExamples(
    withHomeOptions(restore),
    "keyfold init --root-key-file copy-of-root.key && keyfold restore --from keks.backup",
  )
}

function addDoctorCommand(program: Command): void {
  const doctor = program
    .command("doctor")
    .description(
      "look whether Node, the home, its permissions, its stores, secret slots, the clock and the clouds are in order",
    )
    .addOption(new Option("--offline", "ask no cloud and no service").conflicts("fix"))
    .option(
      "--fix",
      "first ask anew for the values of secret slots that do not open, or that their service refuses",
    )
    .action(async (options) => (await import("./commands/doctor.ts")).doctor(options))
  withExamples(
    withHomeOptions(doctor),
    "keyfold doctor",
    "keyfold doctor --offline --json",
    "keyfold doctor --fix",
  )
}

const KEK_CHANGES = [
  ["rotate", "make a new version; data under old ones still opens"],
  ["disable", "refuse to wrap and unwrap until it is enabled"],
  ["enable", "allow it again"],
  ["schedule-deletion", "destroy it after a recovery window; all its data is lost then"],
  ["cancel-deletion", "take a scheduled deletion back; the KEK is then disabled"],
] as const

const OVERVIEW = `
Examples:
  keyfold encrypt -c organization_id=org_1 -c data_type=ssn -i ssn.txt -o ssn.kf
  keyfold decrypt -c organization_id=org_1 -c data_type=ssn -i ssn.kf
  keyfold inspect -i ssn.kf
  keyfold kek rotate -c organization_id=org_1
  keyfold rewrap -c organization_id=org_1 -c data_type=ssn -i ssn.kf -o ssn.kf
  keyfold binding add --match organization_id=org_1 --provider aws-kms --key-id arn:aws:kms:…
  keyfold secrets set DATABASE_URL -c environment=development
  keyfold exec -c environment=development -- node server.js

Exit codes: 0 done · 2 bad argument, context or binding · 3 malformed, unsupported or failed decryption · 4 a key is missing,
disabled, pending deletion or denied · 5 storage · 6 temporary, try again · 130 interrupted · 1 otherwise`
