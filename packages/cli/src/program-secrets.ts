import type { Command } from "commander"
import { context, home, json, withExamples, withHomeOptions } from "./options.ts"

export function addSecretsCommands(secrets: Command): void {
  const set = secrets
    .command("set")
    .description("keep a value, from standard input or asked for, as an environment variable of keyfold exec")
    .argument("<name>", "the variable")
    .addOption(context().makeOptionMandatory())
    .option("--force", "also a name by which programs find or load code, such as PATH")
    .action(async (name, options) => (await import("./commands/secrets.ts")).set(name, options))
  withExamples(
    withHomeOptions(set),
    "keyfold secrets set DATABASE_URL -c environment=development",
    "keyfold secrets set TLS_KEY -c environment=development < key.pem",
  )

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
    .addOption(context().makeOptionMandatory())
    .addOption(home())
    .addOption(json())
    .action(async (name, options) => (await import("./commands/secrets.ts")).remove(name, options))
  withExamples(remove, "keyfold secrets rm DATABASE_URL -c environment=development")
}

export function addExecCommand(program: Command): void {
  const exec = program
    .command("exec")
    .description("run a command with the values of exactly this context in its environment, and nowhere else")
    .argument("<command...>", "after --, the command and its arguments")
    .addOption(context().makeOptionMandatory())
    .action(async (command, options) => (await import("./commands/exec.ts")).exec(command, options))
  withExamples(withHomeOptions(exec), "keyfold exec -c environment=development -- node server.js")
  exec.addHelpText("after", AS_IF_IN_PLACE)
}

const AS_IF_IN_PLACE = `
It ends as the command does, with its exit code or signal. Where a value does not open, the command is not started.`
