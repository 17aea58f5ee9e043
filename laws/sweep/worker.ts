/** Moves a vault's objects to today's routes, until it is done or killed. Started by main.ts; its last line is the result. */
import { sweep } from "@keyfold/vault"
import { openSetting } from "./setting.ts"

const [folder = "", credentials = "{}"] = process.argv.slice(2)
const setting = await openSetting(folder, JSON.parse(credentials))
const { keyfold, store } = setting
const actor = { id: "sweep", name: "sweep", source: "system" } as const
console.log("begun")
const result = await sweep({ keyfold, store, actor, kind: "rewrap", concurrency: 32, claimMs: 3000 })
console.log(JSON.stringify(result))
await setting.close()
