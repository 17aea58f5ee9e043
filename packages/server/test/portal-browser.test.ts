/** The portal in a real Chromium, against the clouds' emulators. */
import axe, { type AxeResults } from "axe-core"
import type { Browser, BrowserContext, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { createOperatorLink, type ProviderId } from "../src/index.ts"
import { launchChromium, unavailable } from "./chromium.ts"
import { MATCH, type PortalWorld, startPortalWorld } from "./portal-world.ts"

let world: PortalWorld
let browser: Browser
let tenants = 0
/** What pages complained of: errors of the script, and what the policy forbade. */
const complaints: string[] = []

beforeAll(async () => {
  if (unavailable !== undefined) return
  ;[world, browser] = await Promise.all([startPortalWorld(), launchChromium()])
})
afterAll(async () => {
  await browser?.close()
  await world?.close()
})

/** A page of a visitor of their own, who has opened a link; of a new tenant unless told. */
async function visit({
  match = { organization_id: `tenant ${++tenants}` } as Readonly<Record<string, string>>,
  expectedRegion = undefined as string | undefined,
  javaScriptEnabled = true,
} = {}): Promise<Page> {
  const context: BrowserContext = await browser.newContext({ javaScriptEnabled })
  const page = await context.newPage()
  page.on("pageerror", (error) => complaints.push(error.message))
  page.on("console", (message) => {
    if (message.type() === "error" && !message.text().includes("404")) complaints.push(message.text())
  })
  await page.goto(await world.link({ match, expectedRegion }))
  await page.getByRole("button", { name: "Continue" }).click()
  await page.waitForURL(/\/portal(\/setup)?$/)
  return page
}

async function fill(page: Page, provider: ProviderId, keyId: string, roleArn?: string): Promise<void> {
  await page.goto(`${world.url}/portal/setup/${provider}`)
  await page.locator("#keyId").fill(keyId)
  if (roleArn !== undefined) await page.locator("#roleArn").fill(roleArn)
}

async function checked(page: Page): Promise<string | null> {
  await page.getByRole("button", { name: "Check and use this key" }).click()
  await page.locator("#outcome").waitFor()
  return page.locator("#outcome h2").textContent()
}

/** The external id that this page's guide tells. */
async function externalIdOn(page: Page): Promise<string> {
  return /keyfold-[0-9a-f]{32}/.exec((await page.locator("main").textContent()) ?? "")?.[0] as string
}

const ids = ["aws-kms", "azure-keyvault", "gcp-kms"] as const
const NAMES = { "aws-kms": "AWS", "azure-keyvault": "Azure", "gcp-kms": "Google Cloud" } as const

if (unavailable !== undefined) test("the portal in Chromium", ({ skip }) => skip(unavailable))
else describe("in Chromium", inChromium)

function inChromium(): void {
  test.each(ids)("%s: from the link to “Setup is complete”, and its status", async (provider) => {
    const page = await visit()
    await page.getByRole("link", { name: NAMES[provider] }).click()
    const keyId = { "aws-kms": world.aws, "azure-keyvault": world.azure, "gcp-kms": world.gcp }[provider]
    const key = keyId.createKey()
    await page.locator("#keyId").fill(key)
    expect(await checked(page)).toBe("Setup is complete")
    expect(await page.locator(".check.fail").count()).toBe(0)
    expect(await page.locator("[data-check=unwrap]").getAttribute("class")).toContain("pass")
    // A screen reader is taken to the end of it.
    expect(await page.evaluate<string>("document.activeElement?.id")).toBe("outcome")
    await page.getByRole("link", { name: "See its status" }).click()
    await expectTitle(page, "Your key is in use")
    expect(await page.locator("dl").first().textContent()).toContain("It works")
    expect(world.bindings.find((each) => each.keyId === key)?.state).toBe("active")
  })

  test("aws-kms: by a role that wants the tenant's external id", async () => {
    const page = await visit()
    await fill(page, "aws-kms", "")
    const account = { accountId: "444455556666" }
    const externalId = await externalIdOn(page)
    const roleArn = world.aws.createRole({ ...account, name: "keyfold", externalId })
    await fill(page, "aws-kms", world.aws.createKey(account), roleArn)
    expect(await checked(page)).toBe("Setup is complete")
    expect(await page.locator("[data-check=external-id]").getAttribute("class")).toContain("pass")
  })

  test("without script it works as well", async () => {
    const page = await visit({ javaScriptEnabled: false })
    const keyId = world.gcp.createKey()
    world.gcp.setState(keyId, "DISABLED")
    await fill(page, "gcp-kms", keyId)
    expect(await checked(page)).toBe("Something is missing")
    world.gcp.setState(keyId, "ENABLED")
    expect(await page.locator("#keyId").inputValue()).toBe(keyId)
    expect(await checked(page)).toBe("Setup is complete")
  })

  test("checks appear as they end, and are read out", async () => {
    const page = await visit()
    const keyId = world.gcp.createKey()
    const end = world.gcp.inject({ kind: "latency", ms: 3000 }, { operations: ["Decrypt"], keyId, times: 1 })
    await fill(page, "gcp-kms", keyId)
    await page.getByRole("button", { name: "Check and use this key" }).click()
    await page.locator("[data-check=wrap]").waitFor()
    expect(await page.locator("#outcome").count()).toBe(0)
    expect(await page.locator("#progress").textContent()).toBe("Checking the key…")
    expect(await page.locator("ol.checks").getAttribute("aria-live")).toBe("polite")
    expect(await page.getByRole("button", { name: "Check and use this key" }).isDisabled()).toBe(true)
    await page.locator("#outcome").waitFor()
    end()
  })

  test("by the keyboard alone", async () => {
    const page = await visit()
    const focused = () => page.evaluate<string>('document.activeElement?.textContent?.trim() ?? ""')
    const tabTo = async (name: string) => {
      for (let i = 0; i < 20 && !(await focused()).startsWith(name); i++) await page.keyboard.press("Tab")
      expect(await focused()).toContain(name)
    }
    await tabTo("Skip to the content")
    await tabTo("Google Cloud")
    await page.keyboard.press("Enter")
    await page.waitForURL(/gcp-kms$/)
    for (let i = 0; i < 20; i++) {
      if ((await page.evaluate<string>("document.activeElement?.id")) === "keyId") break
      await page.keyboard.press("Tab")
    }
    await page.keyboard.type(world.gcp.createKey())
    await page.keyboard.press("Enter")
    await page.locator("#outcome").waitFor()
    await tabTo("See its status")
    await page.keyboard.press("Enter")
    await expectTitle(page, "Your key is in use")
  })

  test("a policy is copied by its button", async () => {
    const page = await visit()
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"])
    await page.goto(`${world.url}/portal/setup/gcp-kms`)
    await page.getByRole("button", { name: "Copy: gcp-iam-binding, JSON" }).click()
    await page.getByText("Copied").waitFor()
    const copied = await page.evaluate<string>("navigator.clipboard.readText()")
    expect(JSON.parse(copied).bindings).toHaveLength(2)
  })

  test.each(BROKEN())(
    "%s: its own reason and fix",
    async (_, { provider, given, region, reason, fix, action }) => {
      const page = await visit({ expectedRegion: region })
      await page.goto(`${world.url}/portal/setup/${provider}`)
      const { keyId, roleArn } = given(world)
      await fill(page, provider, keyId, roleArn)
      expect(await checked(page)).toBe("Something is missing")
      const failed = page.locator(`.check.fail[data-reason=${reason}]`).first()
      expect((await failed.locator(".fix").textContent())?.toLowerCase()).toContain(fix)
      if (action !== undefined) expect(await failed.textContent()).toContain(`Denied: ${action}`)
      expect(world.bindings.some((each) => each.keyId === keyId)).toBe(false)
      world.azure.setFirewall("open")
    },
  )

  test("later visits: another key, and disabling with a warning first", async () => {
    const match = MATCH
    const [first, second] = [world.gcp.createKey(), world.gcp.createKey()]
    const page = await visit({ match })
    await fill(page, "gcp-kms", first)
    expect(await checked(page)).toBe("Setup is complete")
    const sealed = await world.keyfold.encrypt("x", { context: match })

    const later = await visit({ match })
    await expectTitle(later, "Your key is in use")
    await later.getByRole("button", { name: "Check the key now" }).click()
    await later.getByText("The key works").waitFor()
    await later.getByRole("link", { name: "Use another key" }).click()
    expect(await later.locator("main").textContent()).toContain(first)
    await fill(later, "gcp-kms", second)
    expect(await checked(later)).toBe("Setup is complete")
    const anew = await world.keyfold.encrypt("x", { context: match })

    await later.goto(`${world.url}/portal/disable`)
    // The box has to be ticked first.
    await later.getByRole("button", { name: "Disable the key here" }).click()
    await expectTitle(later, "Disable your key here?")
    expect(await later.locator("#warning + p").textContent()).toContain(
      "has not moved off former keys yet still opens",
    )
    await later.getByLabel("I understand").check()
    await later.getByRole("button", { name: "Disable the key here" }).click()
    await expectTitle(later, "Your key is disabled here")
    await expect(world.keyfold.decrypt(anew, { context: match })).rejects.toMatchObject({
      code: "KEY_DISABLED",
    })
    // As the warning says.
    await world.keyfold.decrypt(sealed, { context: match })
    await later.getByRole("button", { name: "Enable the key here" }).click()
    await expectTitle(later, "Your key is in use")
    await later.getByRole("button", { name: "Leave" }).click()
    await expectTitle(later, "You have left")
    expect((await later.goto(`${world.url}/portal`))?.status()).toBe(404)
  })

  test("axe finds no violation on any page, light or dark", async () => {
    const page = await visit()
    const keyId = world.aws.createKey()
    const found: string[] = []
    let pages = 0
    const look = async (name: string) => {
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme })
        await page.evaluate(axe.source)
        // In the dark only the colours are others.
        const { violations } = await page.evaluate<AxeResults>(
          colorScheme === "light" ? "axe.run()" : 'axe.run({ runOnly: ["color-contrast"] })',
        )
        for (const { id, nodes } of violations) {
          found.push(`${name}, ${colorScheme}: ${id} ${nodes.map(({ html }) => html).join(" ")}`)
        }
        pages++
      }
    }
    await look("choice")
    for (const provider of ids) {
      await page.goto(`${world.url}/portal/setup/${provider}`)
      await look(provider)
    }
    world.aws.deny("key-policy", "kms:Decrypt", keyId)
    await fill(page, "aws-kms", keyId)
    await checked(page)
    await look("failure")
    world.aws.allow("key-policy", "kms:Decrypt", keyId)
    await checked(page)
    await page.locator("#outcome.good").waitFor()
    await look("complete")
    await page.goto(`${world.url}/portal`)
    await look("status")
    world.aws.setState(keyId, "Disabled")
    await page.goto(`${world.url}/portal`)
    await look("status of a key that refuses")
    await page.goto(`${world.url}/portal/disable`)
    await look("disable")
    await page.getByLabel("I understand").check()
    await page.getByRole("button", { name: "Disable the key here" }).click()
    await expectTitle(page, "Your key is disabled here")
    await look("disabled")
    await page.goto(await world.link())
    await look("link")
    await page.goto(`${world.url}/portal/none`)
    await look("not found")
    await page.goto(world.url + (await createOperatorLink(world.store)).path)
    await page.getByRole("button", { name: "Continue" }).click()
    await expectTitle(page, "All keys")
    await look("operator")
    expect(found).toEqual([])
    expect(pages).toBe(26)
  })

  test("no page had an error, and none met its own policy", () => {
    expect(complaints).toEqual([])
    expect(world.errors).toEqual([])
  })
}

async function expectTitle(page: Page, title: string): Promise<void> {
  await page.getByRole("heading", { level: 1, name: title }).waitFor()
}

type Broken = {
  readonly provider: ProviderId
  readonly given: (world: PortalWorld) => { readonly keyId: string; readonly roleArn?: string }
  readonly region?: string
  readonly reason: string
  readonly action?: string
  readonly fix: string
}

function BROKEN(): readonly (readonly [string, Broken])[] {
  const aws = (how: (aws: PortalWorld["aws"], keyId: string) => void) => ({
    provider: "aws-kms" as const,
    given: ({ aws }: PortalWorld) => {
      const keyId = aws.createKey()
      how(aws, keyId)
      return { keyId }
    },
  })
  const denied = (action: string) => ({
    ...aws((e, key) => e.deny("key-policy", action, key)),
    ...{ reason: "PERMISSION_MISSING", action, fix: "allow it to that identity in the key policy" },
  })
  return [
    [
      "an id that is none",
      {
        ...{ provider: "azure-keyvault", given: () => ({ keyId: "my key" }), reason: "MALFORMED_KEY_ID" },
        fix: "correct the key id",
      },
    ],
    [
      "another region",
      {
        ...{ ...aws(() => undefined), region: "us-east-1", reason: "WRONG_REGION" },
        fix: "use a key in us-east-1",
      },
    ],
    ["no permission to describe", denied("kms:DescribeKey")],
    ["no permission to encrypt", denied("kms:Encrypt")],
    ["no permission to decrypt", denied("kms:Decrypt")],
    [
      "disabled",
      { ...aws((e, key) => e.setState(key, "Disabled")), reason: "KEY_DISABLED", fix: "enable it" },
    ],
    [
      "pending deletion",
      {
        ...aws((e, key) => e.setState(key, "PendingDeletion")),
        ...{ reason: "KEY_PENDING_DELETION", fix: "cancel its deletion" },
      },
    ],
    [
      "a key for signing",
      {
        ...{ provider: "aws-kms", reason: "WRONG_KEY_USAGE", fix: "encrypt_decrypt" },
        given: ({ aws }) => ({ keyId: aws.createKey({ spec: "RSA_2048", usage: "SIGN_VERIFY" }) }),
      },
    ],
    [
      "a role that asks for no external id",
      {
        ...{ provider: "aws-kms", reason: "EXTERNAL_ID_NOT_ENFORCED", action: "sts:AssumeRole" },
        fix: "require the external id in the role's trust policy",
        given: ({ aws }) => {
          const account = { accountId: "444455556666" }
          const roleArn = aws.createRole({ ...account, name: "open" })
          return { keyId: aws.createKey(account), roleArn }
        },
      },
    ],
    [
      "a role that wants another external id",
      {
        ...{ provider: "aws-kms", reason: "ROLE_DENIED", action: "sts:AssumeRole" },
        fix: "check the role's arn",
        given: ({ aws }) => {
          const account = { accountId: "444455556666" }
          const roleArn = aws.createRole({ ...account, name: "other", externalId: "of-another" })
          return { keyId: aws.createKey(account), roleArn }
        },
      },
    ],
    [
      "a closed firewall",
      {
        ...{ provider: "azure-keyvault", reason: "NETWORK_DENIED", action: "ForbiddenByFirewall" },
        fix: "allow that address or network",
        given: ({ azure }) => {
          azure.setFirewall("closed")
          return { keyId: azure.createKey() }
        },
      },
    ],
    [
      "expired",
      {
        ...{ provider: "azure-keyvault", reason: "KEY_EXPIRED", fix: "move its expiry date" },
        given: ({ azure }) => {
          const keyId = azure.createKey()
          azure.setState(keyId, "expired")
          return { keyId }
        },
      },
    ],
    [
      "no permission in Google Cloud",
      {
        ...{ provider: "gcp-kms", reason: "PERMISSION_MISSING", fix: "grant" },
        action: "cloudkms.cryptoKeyVersions.useToEncrypt",
        given: ({ gcp }) => {
          const keyId = gcp.createKey()
          gcp.deny("cloudkms.cryptoKeyVersions.useToEncrypt", keyId)
          return { keyId }
        },
      },
    ],
  ]
}
