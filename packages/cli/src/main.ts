#!/usr/bin/env node
/** The `keyfold` command. Each subcommand loads what it needs when it runs, so that starting stays quick. */
import { Command, CommanderError, Option } from "commander"
import manifest from "../package.json" with { type: "json" }
import { failWith } from "./failure.ts"
import { stopOnSignals } from "./temporary-files.ts"

function buildProgram(): Command {
  const program = new Command("keyfold")
  program
    .description(
      "Encrypts data under a key context, with one key-encrypting key (KEK) for each of its pairs.",
    )
    .version(manifest.version)
    .exitOverride()
    .configureOutput({ writeErr: () => undefined })
    .showHelpAfterError(false)
    .addHelpText("after", EXAMPLES)

  // commander copies exitOverride and the output to subcommands made after this.
  const home = () =>
    new Option(
      "--home <dir>",
      "where KEKs and the root key are kept (default: $KEYFOLD_HOME, or keyfold in $XDG_DATA_HOME)",
    )
  const passphrase = () =>
    new Option(
      "--passphrase-file <file>",
      "the passphrase of the home, in a file (or name one in $KEYFOLD_PASSPHRASE_FILE)",
    )
  const json = () => new Option("--json", "print JSON, errors too")
  const input = () => new Option("-i, --input <file>", "read this file (default: standard input)")
  const output = () => new Option("-o, --output <file>", "write this file (default: standard output)")
  const context = () =>
    new Option("-c, --context <name=value>", "a pair of the key context; repeat it for more").argParser(
      (pair: string, before: string[] = []) => [...before, pair],
    )
  const opens = (command: Command) =>
    command
      .addOption(context())
      .option("--authorize-embedded", "open with the key context that the envelope embeds")
      .addOption(home())
      .addOption(passphrase())
      .addOption(json())

  program
    .command("init")
    .description("make a home: a root key (mode 0600) and an empty KEK store")
    .option("--passphrase", "protect it by a passphrase, asked for twice, instead of a key file")
    .option("--root-key-file <file>", "take this root key over, 64 hex digits, for a restore")
    .addOption(passphrase())
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/init.ts")).init(options))

  program
    .command("encrypt")
    .description("encrypt a file or standard input; makes the home and the KEKs that are missing")
    .requiredOption(
      "-c, --context <name=value>",
      "a pair of the key context; repeat it for more",
      (pair: string, before: string[] = []) => [...before, pair],
    )
    .addOption(input())
    .addOption(output())
    .option("--aad <text>", "additional authenticated data, needed again to decrypt")
    .addOption(
      new Option("--policy <policy>", "all: every KEK must take part; any: each alone opens")
        .choices(["all", "any"])
        .default("all"),
    )
    .option("--embed-context", "store the key context, readable by anyone, in the envelope")
    .option("--text", "write base64url text instead of bytes")
    .addOption(home())
    .addOption(passphrase())
    .addOption(json())
    .action(async (options) => (await import("./commands/encrypt.ts")).encrypt(options))

  opens(program.command("decrypt").description("decrypt a file or standard input"))
    .addOption(input())
    .addOption(output())
    .option("--aad <text>", "the additional authenticated data that was given to encrypt")
    .action(async (options) => (await import("./commands/decrypt.ts")).decrypt(options))

  program
    .command("inspect")
    .description("describe an envelope without any key")
    .addOption(input())
    .addOption(json())
    .action(async (options) => (await import("./commands/inspect.ts")).inspect(options))

  opens(
    program.command("rewrap").description("wrap under today's KEKs again; the payload stays byte for byte"),
  )
    .addOption(input())
    .addOption(output())
    .addOption(new Option("--policy <policy>", "a new policy").choices(["all", "any"]))
    .action(async (options) => (await import("./commands/rewrap.ts")).rewrap(options))

  opens(
    program
      .command("reencrypt")
      .description("encrypt again under a new data key, which ends the use of kept old headers"),
  )
    .addOption(input())
    .addOption(output())
    .option("--aad <text>", "the additional authenticated data, kept")
    .addOption(new Option("--policy <policy>", "a new policy").choices(["all", "any"]))
    .action(async (options) => (await import("./commands/reencrypt.ts")).reencrypt(options))

  const kek = program.command("kek").description("list and change managed KEKs")
  kek
    .command("list")
    .description("list KEKs, or that of one pair")
    .addOption(context())
    .addOption(home())
    .addOption(passphrase())
    .addOption(json())
    .action(async (options) => (await import("./commands/kek.ts")).list(options))
  for (const [name, description] of KEK_CHANGES) {
    const command = kek
      .command(name)
      .description(description)
      .option("--key-id <id>", "the KEK, by its id")
      .addOption(context())
    if (name === "schedule-deletion")
      command.option("--days <days>", "how long it can be had back, 7 to 365", "30")
    command
      .addOption(home())
      .addOption(passphrase())
      .addOption(json())
      .action(async (options) => (await import("./commands/kek.ts")).change(name, options))
  }

  const root = program.command("root").description("change what protects the KEK store")
  root
    .command("rotate")
    .description("a new root key file; KEKs and data stay as they are")
    .addOption(home())
    .addOption(passphrase())
    .addOption(json())
    .action(async (options) => (await import("./commands/root.ts")).rotate(options))
  root
    .command("passphrase")
    .description("set or change the passphrase")
    .option("--new-passphrase-file <file>", "the new passphrase, in a file (default: asked for twice)")
    .addOption(home())
    .addOption(passphrase())
    .addOption(json())
    .action(async (options) => (await import("./commands/root.ts")).passphrase(options))

  program
    .command("backup")
    .description("copy the KEK store to one new file, sealed as it is; the root key is not in it")
    .requiredOption("--to <file>", "the new file")
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/backup.ts")).backup(options))
  program
    .command("restore")
    .description("put a backup into a home that has no KEK yet and the root key of the backup")
    .requiredOption("--from <file>", "the backup")
    .addOption(home())
    .addOption(passphrase())
    .addOption(json())
    .action(async (options) => (await import("./commands/backup.ts")).restore(options))
  return program
}

/** Node 22 warns that node:sqlite is experimental; that one warning says nothing to who runs a command. */
function silenceSqliteWarning(): void {
  const { emitWarning } = process
  process.emitWarning = ((warning: string | Error, ...rest: never[]) => {
    if (String(warning).includes("SQLite is an experimental feature")) return
    emitWarning.call(process, warning, ...rest)
  }) as typeof process.emitWarning
}

const KEK_CHANGES = [
  ["rotate", "make a new version; data under old ones still opens"],
  ["disable", "refuse to wrap and unwrap until it is enabled"],
  ["enable", "allow it again"],
  ["schedule-deletion", "destroy it after a recovery window; all its data is lost then"],
  ["cancel-deletion", "take a scheduled deletion back; the KEK is then disabled"],
] as const

const EXAMPLES = `
Examples:
  keyfold encrypt -c organization_id=org_1 -c data_type=ssn -i ssn.txt -o ssn.kf
  keyfold decrypt -c organization_id=org_1 -c data_type=ssn -i ssn.kf
  keyfold inspect -i ssn.kf
  tar c folder | keyfold encrypt -c user=u_1 > folder.tar.kf
  keyfold kek rotate -c organization_id=org_1 && keyfold rewrap -c organization_id=org_1 -c data_type=ssn -i ssn.kf -o ssn.kf

Exit codes: 0 done · 2 bad argument, context or binding · 3 malformed, unsupported or failed decryption · 4 a key is missing,
disabled, pending deletion or denied · 5 storage · 6 temporary, try again · 130 interrupted · 1 otherwise`

silenceSqliteWarning()
stopOnSignals()
// Also what is printed without waiting, such as help, can meet a reader that has gone.
process.stdout.on("error", failWith)
const program = buildProgram()
try {
  await program.parseAsync()
} catch (error) {
  if (!(error instanceof CommanderError)) failWith(error)
  else if (error.exitCode !== 0) failWith(error)
}
