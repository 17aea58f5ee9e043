/** Leaves the wording of errors alone: tests hold their codes, and people read the words. */
import { declareValuePlugin, PluginKind } from "@stryker-mutator/api/plugin"

type Node = { readonly type: string }
type Call = Node & { readonly callee?: { readonly name?: string }; readonly arguments?: readonly Node[] }

/** What makes an error, and which of its arguments the wording is. */
const WORDING: Readonly<Record<string, number>> = { KeyfoldError: 1, malformed: 0 }

export const strykerPlugins = [
  declareValuePlugin(PluginKind.Ignore, "messages", {
    shouldIgnore(path) {
      const { node, parent } = path as unknown as { readonly node: Node; readonly parent: Call | null }
      if (node.type !== "StringLiteral" && node.type !== "TemplateLiteral") return undefined
      const at = WORDING[parent?.callee?.name ?? ""]
      return at !== undefined && parent?.arguments?.[at] === node ? "the wording of an error" : undefined
    },
  }),
]
