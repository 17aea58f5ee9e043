/** WorkOS's SDK as it comes, in a process of its own: makes the calls it is given and prints what came of each. */
import { WorkOS } from "@workos-inc/node"

const { apiKey, port, calls } = JSON.parse(process.argv[2])
const workos = new WorkOS(apiKey, { apiHostname: "127.0.0.1", port, https: false })
const replies = []
for (const [method, ...args] of calls) {
  try {
    const [service, name] = method.includes(".") ? method.split(".") : ["vault", method]
    replies.push({ value: plain(await workos[service][name](...args.map(filled))) })
  } catch (error) {
    replies.push({ error: { name: error.name, status: error.status, message: error.message } })
  }
}
console.log(JSON.stringify(replies))

function plain(value) {
  return value?.object === "list" || value?.autoPagination
    ? { data: value.data, listMetadata: value.listMetadata }
    : value
}

/** Puts fields of earlier replies in the place of `$N.field`, and dates in that of `date:…`. */
function filled(value) {
  if (typeof value === "string") {
    const field = /^\$(\d+)(?:\.(\w+))?$/.exec(value)
    if (field !== null)
      return field[2] === undefined ? replies[field[1]].value : replies[field[1]].value[field[2]]
    return value.startsWith("date:") ? new Date(value.slice(5)) : value
  }
  if (typeof value !== "object" || value === null) return value
  if (Array.isArray(value)) return value.map(filled)
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, filled(each)]))
}
