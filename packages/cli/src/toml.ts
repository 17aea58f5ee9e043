import { KeyfoldError } from "@keyfold/core"

/** What a file says. @throws KeyfoldError `INVALID_ARGUMENT`, without the parser's own message, which quotes lines */
export async function parseToml(path: string, text: string): Promise<Readonly<Record<string, unknown>>> {
  const { parse, TomlError } = await import("smol-toml")
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    throw new KeyfoldError(
      "INVALID_ARGUMENT",
      `${path}: it is not TOML in line ${error.line}, column ${error.column}`,
    )
  }
}
