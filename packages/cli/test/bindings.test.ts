/** Customers' keys in the three clouds: real SDKs against emulators. Commands run in this process where that will do. */
import { chmodSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { pathToFileURL } from "node:url"
import { KeyfoldError } from "@keyfold/core"
import { type AwsEmulator, startAwsEmulator } from "@keyfold/provider-testkit/aws"
import { type AzureEmulator, startAzureEmulator } from "@keyfold/provider-testkit/azure"
import { type GcpEmulator, startGcpEmulator } from "@keyfold/provider-testkit/gcp"
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest"
import { buildProgram } from "../src/program.ts"
import { type Run, workshop } from "./cli.ts"

const { run, path, env } = workshop()
const file = path("home/bindings.json")
const read = () => JSON.parse(readFileSync(file, "utf8")).bindings
const exit = ({ code, stderr }: Run) => [code, stderr.match(/^error (\w+): .+$/m)?.[1]]

let aws: AwsEmulator
let azure: AzureEmulator
let gcp: GcpEmulator

beforeAll(async () => {
  ;[aws, azure, gcp] = await Promise.all([startAwsEmulator(), startAzureEmulator(), startGcpEmulator()])
  Object.assign(env, {
    AWS_ACCESS_KEY_ID: aws.credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.credentials.secretAccessKey,
    AWS_ENDPOINT_URL_STS: aws.url,
    AZURE_TENANT_ID: azure.client.tenantId,
    AZURE_CLIENT_ID: azure.client.clientId,
    AZURE_CLIENT_SECRET: azure.client.clientSecret,
  })
  Object.assign(process.env, env)
  writeFileSync(path("ca.pem"), azure.caCertificate)
  writeFileSync(path("x.txt"), "x")
  await call("init")
})
afterAll(() => Promise.all([aws.close(), azure.close(), gcp.close()]))

/** What a command prints; or the code it fails with, and its message. */
async function call(...args: string[]): Promise<string> {
  const log = vi.spyOn(console, "log").mockImplementation(() => undefined)
  try {
    await buildProgram().parseAsync(args, { from: "user" })
    return log.mock.calls.join("\n")
  } catch (error) {
    if (error instanceof KeyfoldError) return `${error.code} ${error.message}`
    throw error
  } finally {
    log.mockRestore()
  }
}

const c = (...pairs: string[]) => pairs.flatMap((pair) => ["-c", pair])
const add = (match: string, keyId: string, ...more: string[]) => call(...adding(match, keyId), ...more)
const adding = (match: string, keyId: string) => [
  ...["binding", "add", "--match", match, "--provider", "aws-kms"],
  ...["--key-id", keyId, "--endpoint", aws.url],
]
const remove = (match: string) => call("binding", "remove", "--match", match)
let sealed = 0
async function seal(...pairs: string[]): Promise<string> {
  const name = `${++sealed}.kf`
  expect(await call("encrypt", ...c(...pairs), "-i", "x.txt", "-o", name)).toBe("")
  return name
}
async function open(name: string, ...pairs: string[]): Promise<string> {
  return (
    (await call("decrypt", ...c(...pairs), "-i", name, "-o", "y.txt")) || readFileSync(path("y.txt"), "utf8")
  )
}
async function providers(name: string): Promise<string[]> {
  const { wraps } = JSON.parse(await call("inspect", "--json", "-i", name))
  return wraps.map(({ providerId }: { providerId: string }) => providerId).sort()
}

const CLOUDS = {
  "aws-kms": () => {
    const keyId = aws.createKey()
    return {
      keyId,
      // What it stands for is asked when it is added.
      name: aws.createAlias(`alias/${keyId.slice(-12)}`, keyId),
      options: ["--endpoint", aws.url],
      wraps: ["aws-kms"],
      set: (state: "off" | "on") => aws.setState(keyId, state === "on" ? "Enabled" : "Disabled"),
    }
  },
  "azure-keyvault": () => {
    const keyId = azure.createKey()
    return {
      keyId,
      name: keyId.slice(0, keyId.lastIndexOf("/")),
      options: ["--authority", azure.url, "--ca-file", "ca.pem"],
      wraps: ["azure-keyvault", "managed"],
      set: (state: "off" | "on") => azure.setState(keyId, state === "on" ? "enabled" : "disabled"),
    }
  },
  "gcp-kms": () => {
    const keyId = gcp.createKey()
    const { apiEndpoint, port } = gcp.connection
    return {
      keyId,
      name: keyId,
      options: ["--endpoint", `${apiEndpoint}:${port}`, "--insecure-emulator"],
      wraps: ["gcp-kms"],
      set: (state: "off" | "on") => gcp.setState(keyId, state === "on" ? "ENABLED" : "DISABLED"),
    }
  },
}

test("a former key that is forgotten opens nothing any more, and what was rewrapped still opens", async () => {
  const match = "organization_id=org_forgets"
  const [kept, moved] = [await seal(match), await seal(match)]
  const bound = JSON.parse(await add(match, aws.createKey(), "--json"))
  const [{ keyId: former }] = bound.history
  expect(await call("rewrap", ...c(match), "-i", moved, "-o", moved)).toBe("")
  const forget = ["binding", "forget", "--match", match, "--former"]
  expect(await call(...forget, "0".repeat(32))).toMatch(/^KEY_NOT_FOUND/)
  expect(await open(kept, match)).toBe("x")
  expect(await call(...forget, former)).toContain(`reads no more under ${former}`)
  expect(await open(moved, match)).toBe("x")
  expect(await call("decrypt", ...c(match), "-i", kept)).toMatch(/^DECRYPTION_FAILED/)
})

describe.each(Object.entries(CLOUDS))("a key in %s", (provider, make) => {
  const match = `organization_id=org_${provider}`

  test("serves its contexts from when it is added, can be revoked, and is removed", async () => {
    const { keyId, name, options, wraps, set } = make()
    const before = await seal(match)
    const added = ["binding", "add", "--provider", provider, "--key-id", name, ...options]
    const bound = JSON.parse(await call(...added, "--match", match, "--json"))
    expect(bound).toMatchObject({ state: "active", provider, keyId, owner: match, leaseTtlSeconds: 0 })
    expect(bound.history).toMatchObject([{ provider: "managed", lastVersion: 1 }])
    expect(statSync(file).mode & 0o777).toBe(0o600)

    const after = await seal(match, "data_type=ssn")
    expect(await providers(after)).toEqual([...wraps, "managed"].sort())
    expect(await open(after, match, "data_type=ssn")).toBe("x")
    expect(await open(before, match)).toBe("x")
    for (const command of ["rewrap", "reencrypt"]) {
      expect(await call(command, ...c(match), "-i", before, "-o", "moved.kf")).toBe("")
      expect(await providers("moved.kf")).toEqual(wraps)
    }

    set("off")
    const failed = await run(["decrypt", ...c(match), "-i", "moved.kf", "--json"])
    expect([failed.code, JSON.parse(failed.stderr).error]).toMatchObject([
      4,
      { code: "KEY_DISABLED", providerId: provider, keyId, message: expect.stringContaining(keyId) },
    ])
    expect(await call("encrypt", ...c(match), "-i", "x.txt", "-o", "none.kf")).toMatch(/^KEY_DISABLED/)
    expect(await call(...added, "--match", "other=1")).toMatch(/^KEY_DISABLED .* cannot be bound/)
    expect(await open(before, match)).toBe("x")
    set("on")

    expect(await call("binding", "list")).toMatch(new RegExp(`active.*${match}.*${provider}`))
    expect(await remove(match)).toMatch(/still opens through it/)
    expect(await open(after, match, "data_type=ssn")).toBe("x")
    const { bindings } = JSON.parse(await call("binding", "list", "--json"))
    expect(bindings.find((each: { id: string }) => each.id === bound.id)).toMatchObject({
      state: "removed",
      history: [{ provider: "managed" }, { provider, keyId }],
    })
    const last = await seal(match)
    expect(await providers(last)).toEqual(["managed"])
    expect(await open(last, match)).toBe("x")
  })
})

test("a symmetric key of a Managed HSM, and a key of another account behind a role", async () => {
  const hsmKey = azure.createKey({ service: "hsm" })
  const options = ["--authority", azure.url, "--ca-file", "ca.pem", "--algorithm", "A256GCM"]
  const key = ["--provider", "azure-keyvault", "--key-id", hsmKey, ...options]
  expect(await call("binding", "add", "--match", "tenant=hsm", ...key)).toMatch(/^Bound/)
  expect(await providers(await seal("tenant=hsm"))).toEqual(["azure-keyvault"])
  expect(await open(`${sealed}.kf`, "tenant=hsm")).toBe("x")

  const role = aws.createRole({ accountId: "444455556666", name: "keyfold", externalId: "theirs" })
  const theirs = aws.createKey({ accountId: "444455556666" })
  expect(await add("tenant=role", theirs, "--role", role)).toMatch(/^PERMISSION_DENIED/)
  expect(await add("tenant=role", theirs, "--role", role, "--external-id", "theirs")).toMatch(/^Bound/)
  expect(await open(await seal("tenant=role"), "tenant=role")).toBe("x")
})

describe("what cannot be bound", () => {
  const NO_KEY = "arn:aws:kms:eu-central-1:111122223333:key/00000000-0000-0000-0000-000000000000"

  test.each([
    ["no ARN", ["--key-id", "arn:aws:kms:nowhere"], "INVALID_ARGUMENT"],
    ["a key that is not there", ["--key-id", NO_KEY], "KEY_NOT_FOUND"],
    ["a region that is not the ARN's", ["--key-id", NO_KEY, "--region", "us-east-1"], "INVALID_ARGUMENT"],
    ["an option of another cloud", ["--key-id", NO_KEY, "--authority", "https://x"], "INVALID_ARGUMENT"],
    ["an alias without a region", ["--key-id", "alias/x"], "INVALID_ARGUMENT"],
    ["leases of more than an hour", ["--key-id", NO_KEY, "--lease-ttl", "3601"], "INVALID_ARGUMENT"],
    ["a pair without a value", ["--key-id", NO_KEY, "--match", "x"], "INVALID_CONTEXT"],
  ])("%s is told, and nothing is written", async (_, args, code) => {
    const kept = readFileSync(file)
    const common = ["--match", "wrong=1", "--provider", "aws-kms", "--endpoint", aws.url]
    expect(await call("binding", "add", ...common, ...args)).toMatch(new RegExp(`^${code} `))
    expect(readFileSync(file)).toEqual(kept)
    await seal("wrong=1")
  })

  test("a host that is not Azure's, unless the binding names its own authority", async () => {
    const key = ["--provider", "azure-keyvault", "--key-id", azure.createKey(), "--ca-file", "ca.pem"]
    expect(await call("binding", "add", "--match", "host=1", ...key)).toMatch(/^INVALID_ARGUMENT/)
  })

  test("a key elsewhere without TLS", async () => {
    const key = ["--provider", "gcp-kms", "--key-id", gcp.createKey(), "--endpoint", "kms.example:80"]
    expect(await call("binding", "add", "--match", "host=1", ...key, "--insecure-emulator")).toMatch(
      /^INVALID_ARGUMENT/,
    )
  })

  test.each([
    ["aws-kms", NO_KEY],
    ["azure-keyvault", "https://customer.vault.azure.net/keys/k"],
    ["gcp-kms", "projects/p/locations/l/keyRings/r/cryptoKeys/k"],
  ])("a key of %s, where there are no credentials", async (provider, keyId) => {
    const none = {
      HOME: path("nobody"),
      ...{ AWS_ACCESS_KEY_ID: "", AWS_EC2_METADATA_DISABLED: "true" },
      ...{ AZURE_CLIENT_ID: "", AZURE_TOKEN_CREDENTIALS: "EnvironmentCredential" },
      ...{ GOOGLE_APPLICATION_CREDENTIALS: "", METADATA_SERVER_DETECTION: "none" },
    }
    const args = ["binding", "add", "--match", "none=1", "--provider", provider, "--key-id", keyId]
    const failed = await run(args, { env: none })
    expect([...exit(failed), failed.stderr]).toEqual([4, "PERMISSION_DENIED", expect.stringContaining(keyId)])
  })

  test("a match that overlaps another, and a key of another owner", async () => {
    const keyId = aws.createKey()
    expect(await add("overlap=1", keyId, "--owner", "acme")).toMatch(/^Bound/)
    const nested = [...adding("overlap=1", aws.createKey()), "--match", "more=2"]
    expect(exit(await run(nested))).toEqual([2, "AMBIGUOUS_BINDING"])
    expect(await add("elsewhere=1", keyId)).toMatch(/^INVALID_ARGUMENT/)
    expect(await call(...nested, "--owner", "acme")).toMatch(/^Bound/)
    expect(await providers(await seal("overlap=1", "more=2"))).toEqual(["aws-kms"])
    expect(await call("binding", "remove", "--match", "more=2", "--match", "overlap=1")).toMatch(/go back/)
  })
})

test("a lease is written only where it is asked for, and opens without it", async () => {
  const keyId = aws.createKey()
  expect(await add("lease=1", keyId, "--lease-ttl", "60")).toMatch(/^Bound/)
  const leased = (await run(["encrypt", ...c("lease=1")], { input: "x" })).stdout
  writeFileSync(path("leased.kf"), leased)
  expect(await call("inspect", "--json", "-i", "leased.kf")).toMatch(/"role":"leased"/)
  expect(await call("binding", "list")).toMatch(/lease=1.*60 s/)
  expect(await add("lease=1", keyId, "--lease-ttl", "0")).toMatch(/^Bound/)
  expect(await call("inspect", "--json", "-i", await seal("lease=1"))).toMatch(/"role":"direct"/)
  expect(await open("leased.kf", "lease=1")).toBe("x")
  aws.setState(keyId, "Disabled")
  expect(exit(await run(["decrypt", ...c("lease=1")], { input: leased }))).toEqual([4, "KEY_DISABLED"])
})

test("another key takes the place of a binding's only when told so", async () => {
  const [first, second] = [aws.createKey(), aws.createKey()]
  expect(await add("move=1", first, "--owner", "acme")).toMatch(/^Bound/)
  const envelope = await seal("move=1")
  expect(await add("move=1", second)).toMatch(/^INVALID_ARGUMENT .*--replace/)
  expect(await add("move=1", second, "--replace", "--owner", "other")).toMatch(/^INVALID_ARGUMENT/)
  expect(JSON.parse(await add("move=1", first, "--lease-ttl", "60", "--json"))).toMatchObject({
    leaseTtlSeconds: 60,
    history: [],
  })
  const moved = JSON.parse(await add("move=1", second, "--replace", "--json"))
  expect(moved).toMatchObject({ keyId: second, owner: "acme", leaseTtlSeconds: 60 })
  expect(moved.history.map(({ keyId }: { keyId: string }) => keyId)).toEqual([first])
  expect(await open(envelope, "move=1")).toBe("x")
  expect(await call("binding", "remove", "--id", moved.id)).toMatch(/^Removed/)
  expect(await call("binding", "remove", "--id", "none")).toMatch(/^INVALID_ARGUMENT/)
  expect(await call("binding", "remove")).toMatch(/^INVALID_ARGUMENT/)
})

test("a damaged or missing bindings.json is never taken for no binding", async () => {
  await add("whole=1", aws.createKey())
  const whole = readFileSync(file, "utf8")
  const envelope = await seal("unbound=1")
  const twice = ({ version, bindings }: { version: number; bindings: unknown[] }) =>
    JSON.stringify({ version, bindings: [...bindings, bindings[0]] })
  for (const [text, code] of [
    [whole.slice(0, -20), "STORE_CORRUPT"],
    ["", "STORE_CORRUPT"],
    ["[]", "STORE_CORRUPT"],
    [whole.replace('"owner"', '"ower"'), "STORE_CORRUPT"],
    [twice(JSON.parse(whole)), "STORE_CORRUPT"],
    [whole.replace('"leaseTtlMs": 0', '"leaseTtlMs": 86400000'), "STORE_CORRUPT"],
    ['{"version":2}', "UNSUPPORTED_VERSION"],
  ] as const) {
    writeFileSync(file, text)
    expect(await call("encrypt", ...c("unbound=1"), "-i", "x.txt", "-o", "none.kf")).toMatch(code)
    expect(await open(envelope, "unbound=1")).toMatch(code)
    expect(await call("binding", "list")).toMatch(code)
    expect(await add("unbound=1", aws.createKey())).toMatch(code)
  }
  rmSync(file)
  expect(exit(await run(["encrypt", ...c("unbound=1")], { input: "x" }))).toEqual([5, "STORE_CORRUPT"])
  writeFileSync(file, whole)
  chmodSync(file, 0o622)
  expect(await open(envelope, "unbound=1")).toMatch(/^INVALID_ARGUMENT .*chmod 600/)
  chmodSync(file, 0o600)
  expect(await open(envelope, "unbound=1")).toBe("x")
})

test("the SDK of a cloud is loaded only when one of its keys is used", async () => {
  writeFileSync(
    path("loads.mjs"),
    'import { registerHooks } from "node:module"; registerHooks({ resolve: (name, context, next) => { process._rawDebug("loads " + name); return next(name, context) } })',
  )
  const hook = { NODE_OPTIONS: `--import ${pathToFileURL(path("loads.mjs"))}` }
  const sdks = async (...args: string[]) => {
    const { code, stderr } = await run(args, { env: hook })
    expect([code, stderr]).toEqual([0, expect.stringMatching(/loads commander/)])
    return [...new Set(stderr.match(/@(aws-sdk|azure|google-cloud)(?=\/)|google-gax/g))]
  }
  await add("lazy=1", aws.createKey())
  const [bound, unbound] = [await seal("lazy=1"), await seal("unbound=1")]
  expect(await sdks("encrypt", ...c("unbound=1"), "-i", "x.txt")).toEqual([])
  expect(await sdks("decrypt", ...c("unbound=1"), "-i", unbound)).toEqual([])
  expect(await sdks("inspect", "-i", bound)).toEqual([])
  expect(await sdks("decrypt", ...c("lazy=1"), "-i", bound)).toEqual(["@aws-sdk"])
  await remove("lazy=1")
  expect(await sdks("encrypt", ...c("lazy=1"), "-i", "x.txt")).toEqual([])
})

describe("a change that is killed", () => {
  // Kills the process before or after it has written bindings.json for the nth time.
  const cut = `import fs from "node:fs/promises"; import { syncBuiltinESMExports } from "node:module"
const { rename } = fs; let n = 0
const die = (when) => process.env.CUT === when && process.kill(process.pid, "SIGKILL")
fs.rename = async (from, to) => {
  if (!to.endsWith("bindings.json")) return rename(from, to)
  n++; die("before " + n); await rename(from, to); die("after " + n)
}
syncBuiltinESMExports()`
  const killed = async (when: string, args: readonly string[]) => {
    writeFileSync(path("cut.mjs"), cut)
    const hook = { NODE_OPTIONS: `--import ${pathToFileURL(path("cut.mjs"))}`, CUT: when }
    expect(await run(args, { env: hook })).toMatchObject({ code: null, stderr: "" })
  }
  const stateOf = (name: string) =>
    read().find(({ match }: { match: object }) => name in match)?.state as string | undefined

  test.each([
    ["before 1", undefined, ""],
    ["after 1", "verified", ""],
    ["after 2", "verified", ""],
    ["before 3", "verified", "NO_ROUTE"], // the managed KEK is closed
    ["after 3", "active", ""],
  ])(
    "adding, %s: the pair fails or goes on as before, and adding or removing settles it",
    async (when, state, code) => {
      const name = `cut-${when.replace(" ", "-")}`
      const match = `${name}=1`
      const before = await seal(match)
      const keyId = aws.createKey()
      await killed(when, adding(match, keyId))
      expect(stateOf(name)).toBe(state)
      const failed = await call("encrypt", ...c(match), "-i", "x.txt", "-o", "cut.kf")
      expect(failed).toMatch(code === "" ? /^$/ : /^NO_ROUTE .*complete the binding or remove it/)
      expect(await open(before, match)).toBe("x")
      expect(await add(match, keyId)).toMatch(/^Bound/)
      expect(await providers(await seal(match))).toEqual(["aws-kms"])
      expect(await open(before, match)).toBe("x")
      if (when !== "before 3") return
      await remove(match)
      await killed("before 2", adding(match, keyId)) // there is no managed KEK to record
      expect(await remove(match)).toMatch(/^Removed/)
      expect(await providers(await seal(match))).toEqual(["managed"])
      expect(await open(before, match)).toBe("x")
    },
  )

  test("removing, before the pair may have a KEK again: it fails until it is removed once more", async () => {
    expect(await add("half=1", aws.createKey())).toMatch(/^Bound/)
    const envelope = await seal("half=1")
    await killed("after 1", ["binding", "remove", "--match", "half=1"])
    expect(stateOf("half")).toBe("removed")
    expect(await open(envelope, "half=1")).toBe("x")
    expect(await call("encrypt", ...c("half=1"), "-i", "x.txt", "-o", "cut.kf")).toMatch(/^NO_ROUTE/)
    expect(await remove("half=1")).toMatch(/^Removed/)
    expect(await providers(await seal("half=1"))).toEqual(["managed"])
    expect(await open(envelope, "half=1")).toBe("x")
  })
})

test("contexts are served while other processes add their bindings, and none is lost", async () => {
  const names = ["race=1", "race=2", "race=3"]
  const added = names.map((match) => run(adding(match, aws.createKey())))
  const envelopes = await Promise.all(names.map((match) => run(["encrypt", ...c(match)], { input: "x" })))
  for (const { code, stderr } of await Promise.all(added)) expect([code, stderr]).toEqual([0, ""])
  for (const [i, { stdout }] of envelopes.entries()) {
    writeFileSync(path("race.kf"), stdout)
    expect(await open("race.kf", names[i] as string)).toBe("x")
  }
  const bound = read().filter(({ match }: { match: object }) => "race" in match)
  expect(bound).toMatchObject([{ state: "active" }, { state: "active" }, { state: "active" }])
})
