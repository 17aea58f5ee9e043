/** Leaves the wording of errors alone: tests hold their codes, and people read the words. */
import { declareValuePlugin, PluginKind } from "@stryker-mutator/api/plugin"

type Node = { readonly type: string }
type Call = Node & { readonly callee?: { readonly name?: string }; readonly arguments?: readonly Node[] }
type Path = { readonly node: Node; readonly parentPath: Path | null }

/** What makes an error, and which of its arguments the wording is. */
const WORDING: Readonly<Record<string, number>> = {
  KeyfoldError: 1,
  malformed: 0,
  invalid: 0,
  tooLarge: 0,
  corrupt: 0,
}

export const strykerPlugins = [
  declareValuePlugin(PluginKind.Ignore, "messages", {
    shouldIgnore(given) {
      let path = given as unknown as Path
      if (path.node.type !== "StringLiteral" && path.node.type !== "TemplateLiteral") return undefined
      // A text of several lines is a sum of texts.
      while (path.parentPath?.node.type === "BinaryExpression") path = path.parentPath
      const call = path.parentPath?.node as Call | undefined
      const at = WORDING[call?.callee?.name ?? ""]
      return at !== undefined && call?.arguments?.[at] === path.node ? "the wording of an error" : undefined
    },
  }),
]
