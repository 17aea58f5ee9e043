/** Every function, class and constant that a published package exports has a doc comment. */
import { join, relative } from "node:path"
import ts from "typescript"
import { entriesOf, publicPackages, root } from "./workspace.ts"

const entries = publicPackages().flatMap((pack) => entriesOf(pack).map((entry) => join(pack.path, entry)))
const config = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile)
const { options } = ts.parseJsonConfigFileContent(config.config, ts.sys, root)
const program = ts.createProgram(entries, options)
const checker = program.getTypeChecker()

let documented = 0
for (const entry of entries) {
  const file = program.getSourceFile(entry)
  const module = file && checker.getSymbolAtLocation(file)
  // An entry without exports is a command.
  for (const exported of module ? checker.getExportsOfModule(module) : []) {
    const symbol = exported.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(exported) : exported
    if (!(symbol.flags & ts.SymbolFlags.Value)) continue
    if (symbol.getDocumentationComment(checker).length + symbol.getJsDocTags(checker).length > 0) {
      documented++
    } else {
      console.error(`FAILS: ${relative(root, entry)}: ${symbol.name} has no doc comment`)
      process.exitCode = 1
    }
  }
}
console.log(`${documented} runtime exports have a doc comment`)
