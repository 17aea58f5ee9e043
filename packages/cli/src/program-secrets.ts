import type { Command } from "commander"
import { context, home, json, withExamples, withHomeOptions } from "./options.ts"

export function addSecretsCommands(secrets: Command): void {
  const set = secrets
    .command("set")
    .description("keep a value, from standard input or asked for, as an environment variable of keyfold exec")
    .argument("<name>", "the variable")
    .addOption(context())
    .option("--force", "also a name by which programs find or load code, such as PATH")
    .action(async (name, options) => (await import("./commands/secrets.ts")).set(name, options))
  withExamples(
    withHomeOptions(set),
    "keyfold secrets set DATABASE_URL -c environment=development",
    "keyfold secrets set TLS_KEY -c environment=development < key.pem",
  )
  set.addHelpText("after", PROJECT)

  const list = secrets
    .command("list")
    .description("list names and contexts, never values; with -c those of exactly this context")
    .addOption(context())
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/secrets.ts")).list(options))
  withExamples(list, "keyfold secrets list", "keyfold secrets list -c environment=development --json")

  const remove = secrets
    .command("rm")
    .description("remove a value")
    .argument("<name>", "the variable")
    .addOption(context())
    .addOption(home())
    .addOption(json())
    .action(async (name, options) => (await import("./commands/secrets.ts")).remove(name, options))
  withExamples(remove, "keyfold secrets rm DATABASE_URL -c environment=development")
  addServiceCommands(secrets)
}

function addServiceCommands(secrets: Command): void {
  const add = secrets
    .command("add")
    .description(
      "keep WORKOS_API_KEY and WORKOS_CLIENT_ID, asked for or two lines of standard input, once WorkOS takes the key",
    )
    .argument("<service>", "workos")
    .addOption(context())
    .option("--host <url>", "where WorkOS's API is; http only for this machine", "https://api.workos.com")
    .action(async (service, options) => (await import("./commands/workos.ts")).add(service, options))
  withExamples(withHomeOptions(add), "keyfold secrets add workos -c environment=development")

  const remove = secrets
    .command("remove")
    .description("remove both values of a service")
    .argument("<service>", "workos")
    .addOption(context())
    .addOption(home())
    .addOption(json())
    .action(async (service, options) => (await import("./commands/workos.ts")).remove(service, options))
  withExamples(remove, "keyfold secrets remove workos -c environment=development")
}

export function addExecCommand(program: Command): void {
  const exec = program
    .command("exec")
    .description("run a command with values of one context in its environment, and nowhere else")
    .argument("<command...>", "after --, the command and its arguments")
    .addOption(context())
    // Not --env-file: Node reads that option for itself, wherever it stands.
    .option(
      "--dotenv <file>",
      "take the variables of a .env that names slots, as NAME=keyfold:SLOT, and no other",
    )
    .action(async (command, options) => (await import("./commands/exec.ts")).exec(command, options))
  withExamples(
    withHomeOptions(exec),
    "keyfold exec -c environment=development -- node server.js",
    "keyfold exec -- npm start",
    "keyfold exec --dotenv .env -- npm start",
  )
  exec.addHelpText("after", PROJECT + AS_IF_IN_PLACE)
}

const PROJECT = `
Without -c the nearest .keyfold.toml, in this folder or above, says the context, and which values a process needs:
  secrets = ["DATABASE_URL", "SMTP_PASSWORD"]
  [context]
  environment = "development"`

const AS_IF_IN_PLACE = `
It ends as the command does, with its exit code or signal. Where a value does not open, the command is not started.`
