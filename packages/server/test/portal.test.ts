/** The portal's links, sessions and forms, by requests as a browser without script makes them. */
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createApp, createOperatorLink, createPortalLink, storeApiKey } from "../src/index.ts"
import { MATCH, type PortalWorld, PRINCIPALS, startPortalWorld } from "./portal-world.ts"

let world: PortalWorld

beforeAll(async () => {
  world = await startPortalWorld()
})
afterAll(() => world.close())

/** A browser without script: one cookie, and the form token of the last page. */
function visitor() {
  let cookie = ""
  let form = ""
  const visit = {
    headers: undefined as Headers | undefined,
    async ask(
      path: string,
      fields?: Record<string, string>,
      headers: Record<string, string> = {},
      signal?: AbortSignal,
    ) {
      const response = await fetch(path.startsWith("/") ? world.url + path : path, {
        redirect: "manual",
        ...(signal && { signal }),
        headers: { cookie, ...(fields && { origin: world.url }), ...headers },
        ...(fields && { method: "POST", body: new URLSearchParams({ form, ...fields }) }),
      })
      visit.headers = response.headers
      cookie = response.headers.get("set-cookie")?.split(";")[0] ?? cookie
      const text = await response.text()
      form = /name="form" value="([^"]+)"/.exec(text)?.[1] ?? form
      return { status: response.status, text }
    },
    async open(options?: Parameters<PortalWorld["link"]>[0]) {
      const link = await world.link(options)
      expect((await visit.ask(link, {})).status).toBe(303)
      await visit.ask("/portal/setup")
      return visit
    },
  }
  return visit
}

const title = (text: string) => /<h1>(.*)<\/h1>/.exec(text)?.[1]
const gone = async () => (await visitor().ask("/portal/open/nothing")).text

describe("a link", () => {
  test("opens once: looking at it does not use it up, opening it does, and then it is the page of a link that never was", async () => {
    const link = await world.link()
    const first = visitor()
    for (let i = 0; i < 2; i++) {
      const { status, text } = await first.ask(link)
      expect([status, title(text)]).toEqual([200, "Set up your encryption key"])
    }
    expect((await first.ask(link, {})).status).toBe(303)
    expect(first.headers?.get("set-cookie")).toMatch(
      /^keyfold_portal=[\w-]{43}; Max-Age=7200; Path=\/portal; HttpOnly; SameSite=Strict$/,
    )
    expect((await first.ask("/portal")).status).toBe(303)
    const used = await visitor().ask(link)
    expect([used.status, used.text]).toEqual([404, await gone()])
    expect(await visitor().ask(link, {})).toEqual(used)
  })

  test("of two who open it at once, one gets in", async () => {
    for (let i = 0; i < 10; i++) {
      const link = await world.link()
      const replies = await Promise.all([1, 2, 3].map(() => visitor().ask(link, {})))
      expect(replies.map(({ status }) => status).sort()).toEqual([303, 404, 404])
    }
  })

  test("that has expired, is another store's or is cut short is the same page", async () => {
    const other = await startPortalWorld()
    const foreign = new URL(await other.link()).pathname
    await other.close()
    const cut = (await world.link()).slice(0, -1)
    const { path } = await createPortalLink(world.store, { match: MATCH }, [])
    const now = Date.now
    Date.now = () => now() + 7 * 86_400_000
    const expired = await visitor().ask(path)
    Date.now = now
    const page = await gone()
    expect([expired.status, expired.text]).toEqual([404, page])
    for (const each of [
      foreign,
      cut,
      "/portal/open/",
      "/portal/open/x",
      "/portal",
      "/portal/setup",
      "/portal/x",
    ])
      expect(await visitor().ask(each)).toEqual({ status: 404, text: page })
  })

  test("is kept as a hash only, its session too, and neither stands in a log", async () => {
    const link = await world.link()
    const visit = visitor()
    await visit.ask(link, {})
    const session = /keyfold_portal=([\w-]+)/.exec(visit.headers?.get("set-cookie") ?? "")?.[1] as string
    const files = readdirSync(world.folder).map((name) => readFileSync(join(world.folder, name), "latin1"))
    expect(files.join()).toContain("org_1")
    for (const secret of [link.split("/").at(-1) as string, session]) {
      for (const text of [...files, ...world.routes]) expect(text).not.toContain(secret)
    }
    expect(world.routes).toContain("/portal/open/:link")
  })

  test.each([
    ["a match that is none", { match: {} }],
    ["a time that is too long", { expiresInMs: 31 * 86_400_000 }],
    ["an unknown cloud", { providers: ["ibm" as never] }],
  ])("with %s is refused", async (_, options) => {
    await expect(world.link(options)).rejects.toMatchObject({ code: /^INVALID_/ })
  })

  test("comes from the API as well, within the API key's scope", async () => {
    const { text: scoped } = await storeApiKey(world.store, "scoped", {
      context: { organization_id: "org_2" },
    })
    const ask = async (apiKey: string, body: object) => {
      const response = await fetch(`${world.url}/portal-links`, {
        method: "POST",
        headers: { authorization: `Bearer ${apiKey}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      })
      return { status: response.status, body: (await response.json()) as Record<string, string> }
    }
    const { status, body } = await ask(world.apiKey, { match: MATCH, providers: ["gcp-kms"], expires_in: 60 })
    expect(status).toBe(201)
    expect(Date.parse(body.expires_at as string) - Date.now()).toBeLessThanOrEqual(60_000)
    const visit = visitor()
    expect((await visit.ask(body.link as string, {})).status).toBe(303)
    expect((await visit.ask("/portal/setup")).text.match(/\/portal\/setup\/[\w-]+"/g)).toEqual([
      '/portal/setup/gcp-kms"',
    ])
    expect((await visit.ask("/portal/setup/aws-kms")).status).toBe(404)
    expect((await ask(scoped, { match: MATCH })).status).toBe(403)
    expect((await ask(scoped, { match: { organization_id: "org_2", user: "u" } })).status).toBe(201)
    expect((await ask(world.apiKey, { match: MATCH, expires_in: 1 })).status).toBe(422)
    expect((await ask("sk_none", { match: MATCH })).status).toBe(401)
  })
})

test("behind a proxy the address told is the one that counts: its links, its forms, and cookies over HTTPS alone", async () => {
  const url = "https://vault.example.com"
  const app = createApp({ ...world.options, portal: { ...world.options.portal, url } })
  const made = await app.request("/portal-links", {
    ...{ method: "POST", body: JSON.stringify({ match: MATCH }) },
    headers: { authorization: `Bearer ${world.apiKey}`, "content-type": "application/json" },
  })
  const { link } = (await made.json()) as { link: string }
  expect(link.startsWith(`${url}/portal/open/`)).toBe(true)
  const { pathname } = new URL(link)
  const open = (origin: string) => app.request(pathname, { method: "POST", headers: { origin } })
  expect((await open("http://localhost")).status).toBe(403)
  const opened = await open(url)
  expect([opened.status, opened.headers.get("set-cookie")]).toEqual([
    303,
    expect.stringContaining("; Secure"),
  ])
})

describe("a form", () => {
  test("from elsewhere, or without its session's token, changes nothing", async () => {
    const visit = await visitor().open()
    const other = await visitor().open()
    const key = { keyId: world.gcp.createKey() }
    const otherForm = /value="([^"]+)"/.exec((await other.ask("/portal/setup/gcp-kms")).text)?.[1] as string
    const before = world.gcp.calls.length
    for (const [fields, headers] of [
      [key, { origin: "https://elsewhere.example" }],
      [key, { origin: "null" }],
      [key, { origin: "" }],
      [{ ...key, form: "" }, {}],
      [{ ...key, form: otherForm }, {}],
    ] as const) {
      expect((await visit.ask("/portal/setup/gcp-kms", fields, headers)).status).toBe(403)
    }
    expect(world.gcp.calls.length).toBe(before)
    expect(world.bindings).toEqual([])
    expect(
      (await visitor().ask(await world.link(), {}, { origin: "https://elsewhere.example" })).status,
    ).toBe(403)
  })

  test("works without script: a failure with its fix, then the set-up, the status, disabling and enabling", async () => {
    const visit = await visitor().open({ expectedRegion: "europe-west3" })
    const keyId = world.gcp.createKey()
    world.gcp.deny("cloudkms.cryptoKeyVersions.useToDecrypt", keyId)
    const failed = await visit.ask("/portal/setup/gcp-kms", { keyId: ` ${keyId}\n` })
    expect(failed.status).toBe(200)
    expect(failed.text).toContain("Something is missing")
    expect(failed.text).toContain("cloudkms.cryptoKeyVersions.useToDecrypt")
    expect(world.bindings).toEqual([])
    world.gcp.allow("cloudkms.cryptoKeyVersions.useToDecrypt", keyId)
    expect((await visit.ask("/portal/setup/gcp-kms", { keyId })).text).toContain("Setup is complete")
    expect(world.bindings).toMatchObject([
      { state: "active", keyId, match: MATCH, expectedRegion: "europe-west3" },
    ])

    const context = MATCH
    const sealed = await world.keyfold.encrypt("value", { context })
    await world.keyfold.decrypt(sealed, { context })
    const status = await visit.ask("/portal")
    expect(title(status.text)).toBe("Your key is in use")
    for (const [name, value] of [
      ["Now", "It works"],
      ["Encryptions", "1"],
      ["Decryptions", "1"],
    ])
      expect(status.text).toContain(`<dt>${name}</dt><dd>${value}</dd>`)
    expect(status.text).toMatch(/<dt>Last use<\/dt><dd><time datetime="20/)
    expect((await visit.ask("/portal/check", {})).text).toContain("The key works")
    const events = await fetch(`${world.url}/events?events=vault.byok_key.verification_completed&order=asc`, {
      headers: { authorization: `Bearer ${world.apiKey}` },
    })
    const told = ((await events.json()) as { data: { data: object }[] }).data.map(({ data }) => data)
    const about = { organization_id: "org_1", key_provider: "GCP_KMS" }
    expect(told).toEqual([false, true, true].map((verified) => ({ ...about, verified })))

    const key_context = { ...MATCH, data_type: "ssn" }
    await fetch(`${world.url}/vault/v1/kv`, {
      method: "POST",
      headers: { authorization: `Bearer ${world.apiKey}`, "content-type": "application/json" },
      body: JSON.stringify({ name: "ssn", value: "v", key_context }),
    })
    expect((await visit.ask("/portal/disable")).text).toContain("<strong>1 object</strong>")
    expect((await visit.ask("/portal/disable", {})).status).toBe(303)
    expect(world.bindings[0]?.state).toBe("active")
    await visit.ask("/portal/disable", { understood: "yes" })
    expect(world.bindings[0]?.state).toBe("disabled")
    await expect(world.keyfold.decrypt(sealed, { context })).rejects.toMatchObject({ code: "KEY_DISABLED" })
    expect(title((await visit.ask("/portal")).text)).toBe("Your key is disabled here")
    await visit.ask("/portal/enable", {})
    await world.keyfold.decrypt(sealed, { context })

    world.gcp.setState(keyId, "DISABLED")
    expect((await visit.ask("/portal")).text).toContain("It refuses: the data under it is shut")
    world.gcp.setState(keyId, "ENABLED")
    expect(world.errors).toEqual([])
  })

  test("takes a symmetric key of an Azure HSM, and the server uses it as it was checked", async () => {
    const match = { organization_id: "hsm" }
    const visit = await visitor().open({ match })
    const keyId = world.azure.createKey({ service: "hsm" })
    expect((await visit.ask("/portal/setup/azure-keyvault", { keyId })).text).toContain("Setup is complete")
    expect(world.bindings.find((each) => each.keyId === keyId)).toMatchObject({
      ...{ state: "active", publicKey: false, options: { algorithm: "A256GCM" } },
    })
    const sealed = await world.keyfold.encrypt("value", { context: match })
    await world.keyfold.decrypt(sealed, { context: match })
    expect((await visit.ask("/portal/check", {})).text).toContain("The key works")
  })

  test("cannot take another tenant's key, and is told so", async () => {
    const keyId = world.bindings[0]?.keyId as string
    const visit = await visitor().open({ match: { organization_id: "org_2" } })
    const { text } = await visit.ask("/portal/setup/gcp-kms", { keyId })
    expect(text).toContain("a key serves one owner only")
    expect(world.bindings.filter((each) => each.keyId === keyId)).toHaveLength(1)
    expect(world.bindings.some((each) => each.match.organization_id === "org_2")).toBe(false)
  })

  test("is used again after leaving: nothing happens", async () => {
    const visit = await visitor().open()
    expect(title((await visit.ask("/portal/leave", {})).text)).toBe("You have left")
    expect((await visit.ask("/portal/check", {})).status).toBe(404)
  })

  test("whose visitor goes away ends its check, and leaves nothing behind", async () => {
    const visit = await visitor().open({ match: { organization_id: "hasty" } })
    const keyId = world.gcp.createKey()
    const end = world.gcp.inject({ kind: "hang" }, { operations: ["Decrypt"], keyId })
    const leave = new AbortController()
    const left = visit.ask("/portal/setup/gcp-kms", { keyId }, {}, leave.signal)
    await expect.poll(() => world.gcp.openConnections(), { timeout: 5000 }).toBeGreaterThan(0)
    expect((await visit.ask("/portal/setup/gcp-kms", { keyId })).status).toBe(429)
    leave.abort()
    await expect(left).rejects.toThrow()
    await expect.poll(() => world.gcp.openConnections(), { timeout: 5000 }).toBe(0)
    end()
    expect((await visit.ask("/portal/setup/gcp-kms", { keyId })).text).toContain("Setup is complete")
    expect(world.errors).toEqual([])
  })

  test("is asked twenty times a minute at most", async () => {
    const visit = await visitor().open({ match: { organization_id: "eager" } })
    const statuses = []
    for (let i = 0; i < 21; i++)
      statuses.push((await visit.ask("/portal/setup/gcp-kms", { keyId: "x" })).status)
    expect([statuses.slice(0, 20).every((each) => each === 200), statuses[20]]).toEqual([true, 429])
  })
})

test("an operator's link shows all of it, once; neither kind of visitor gets at the pages of the other", async () => {
  const { path } = await createOperatorLink(world.store)
  const operator = visitor()
  const tenant = await visitor().open({ match: { organization_id: "org_9" } })
  expect(await tenant.ask("/portal/operator")).toEqual({ status: 404, text: await gone() })
  expect((await tenant.ask(path.replace("/operator", ""))).status).toBe(404)
  expect(title((await operator.ask(path)).text)).toBe("Look at all keys")
  expect((await operator.ask(path, {})).status).toBe(303)
  expect(operator.headers?.get("set-cookie")).toContain("Path=/portal/operator; HttpOnly; SameSite=Strict")
  expect((await visitor().ask(path, {})).status).toBe(404)
  const { text } = await operator.ask("/portal/operator")
  expect(text).toContain(world.bindings[0]?.keyId)
  expect(text).toContain("<td>enabled</td><td>12,345</td>")
  expect(text).toContain("vault.byok_key.verification_completed: failed")
  expect((await operator.ask("/portal/setup")).status).toBe(404)
  expect((await operator.ask("/portal/operator/leave", { form: "" })).status).toBe(403)
  expect(title((await operator.ask("/portal/operator/leave", {})).text)).toBe("You have left")
  expect((await operator.ask("/portal/operator")).status).toBe(404)
  await expect(createOperatorLink(world.store, { expiresInMs: 2 * 86_400_000 })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  })
})

describe("the guide", () => {
  test("an AWS tenant gets its own external id, the same in every link, and its own pairs", async () => {
    const ids = await Promise.all(
      ["org_1", "org_1", "org_2"].map(async (organization_id) => {
        const visit = await visitor().open({ match: { organization_id } })
        const { text } = await visit.ask("/portal/setup/aws-kms")
        expect(text).toContain(`kms:EncryptionContext:organization_id&quot;: &quot;${organization_id}&quot;`)
        expect(text).toContain(PRINCIPALS["aws-kms"])
        return /sts:ExternalId&quot;: &quot;(keyfold-[0-9a-f]{32})/.exec(text)?.[1]
      }),
    )
    expect([ids[0], ids[0] === ids[1], ids[0] === ids[2]]).toEqual([expect.any(String), true, false])
  })

  test("what was typed comes back escaped", async () => {
    const visit = await visitor().open({ match: { organization_id: '"><script>alert(1)</script>' } })
    const keyId = '"><script>alert(2)</script>'
    const { text } = await visit.ask("/portal/setup/aws-kms", { keyId })
    expect(text).not.toMatch(/<script>/)
    expect(text).toContain("MALFORMED_KEY_ID")
  })
})

test("every page has a strict policy, and neither inline script nor inline style", async () => {
  const visit = await visitor().open()
  for (const path of [
    "/portal/open/x",
    "/portal/setup",
    "/portal/setup/aws-kms",
    "/portal/style.css",
    "/portal",
  ]) {
    const { text } = await visit.ask(path)
    expect(visit.headers?.get("content-security-policy")).toMatch(
      /^default-src 'none'; script-src 'self'; style-src 'self';/,
    )
    expect(visit.headers?.get("cache-control")).toBe("no-store")
    expect(text).not.toMatch(/<script>|<style|style="| on\w+="/)
  }
})
