import { KeyfoldError } from "@keyfold/core"
import { type Command, Option } from "commander"

/** Options that several commands share; each call makes a new one. */
export const home = () =>
  new Option(
    "--home <dir>",
    "where KEKs and the root key are kept (default: $KEYFOLD_HOME, or keyfold in $XDG_DATA_HOME)",
  )
export const passphraseFile = () =>
  new Option(
    "--passphrase-file <file>",
    "the passphrase of the home, in a file (or name one in $KEYFOLD_PASSPHRASE_FILE)",
  )
export const json = () => new Option("--json", "print JSON, errors too")
export const input = () => new Option("-i, --input <file>", "read this file (default: standard input)")
export const output = () => new Option("-o, --output <file>", "write this file (default: standard output)")
export const policy = (text: string) => new Option("--policy <policy>", text).choices(["all", "any"])
export const context = () =>
  new Option("-c, --context <name=value>", "a pair of the key context; repeat it for more").argParser(collect)
export const onlyPairs = () =>
  new Option(
    "--only <name=value>",
    "only objects whose key context has this pair; repeat it for more",
  ).argParser(collect)

/** Adds what every command takes that opens a home. */
export function withHomeOptions(command: Command): Command {
  return command.addOption(home()).addOption(passphraseFile()).addOption(json())
}

/** Adds what every command takes that opens an envelope. */
export function withOpeningOptions(command: Command): Command {
  return withHomeOptions(
    command
      .addOption(context())
      .option("--authorize-embedded", "open with the key context that the envelope embeds")
      .addOption(input())
      .addOption(output()),
  )
}

/** The number of an option. @throws KeyfoldError `INVALID_ARGUMENT` */
export function wholeNumber(text: string, option: string, least = 0): number {
  if (/^\d{1,9}$/.test(text) && Number(text) >= least) return Number(text)
  throw new KeyfoldError("INVALID_ARGUMENT", `${option} is a whole number, at least ${least}`)
}

/** Shows examples at the end of a command's help. */
export function withExamples(command: Command, ...lines: string[]): Command {
  return command.addHelpText("after", `\nExamples:\n${lines.map((line) => `  ${line}\n`).join("")}`)
}

function collect(pair: string, before: string[] = []): string[] {
  return [...before, pair]
}
