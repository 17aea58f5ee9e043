/** Puts the recording crypto seam in the place of core's own. */
import { registerHooks } from "node:module"

const recorder = new URL("recorded-crypto.ts", import.meta.url).href
registerHooks({
  resolve: (specifier, context, next) =>
    specifier === "@keyfold/core/crypto" ? { url: recorder, shortCircuit: true } : next(specifier, context),
})
