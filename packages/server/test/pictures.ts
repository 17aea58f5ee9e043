/** `pnpm pictures`: takes the pictures of the admin portal that stand in docs/guides/byok-portal.md. */
import { statSync } from "node:fs"
import { join } from "node:path"
import { createOperatorLink } from "../src/index.ts"
import { launchChromium } from "./chromium.ts"
import { MATCH, startPortalWorld } from "./portal-world.ts"

const WIDTH = 760
const folder = join(import.meta.dirname, "../../../docs/pictures")
const [world, browser] = await Promise.all([startPortalWorld(), launchChromium()])
try {
  const context = await browser.newContext({ viewport: { width: WIDTH, height: 620 } })
  const page = await context.newPage()
  const take = async (name: string, height = 620) => {
    const path = join(folder, `portal-${name}.png`)
    await page.screenshot({ path, clip: { x: 0, y: 0, width: WIDTH, height } })
    console.log(`${name}: ${Math.ceil(statSync(path).size / 1024)} KiB`)
  }
  const check = async () => {
    await page.getByRole("button", { name: "Check and use this key" }).click()
    await page.locator("#outcome").waitFor()
  }
  await page.goto(await world.link())
  await page.getByRole("button", { name: "Continue" }).click()
  await page.waitForURL(/\/portal\/setup$/)
  await take("choice", 280)

  await page.getByRole("link", { name: "AWS" }).click()
  const externalId = /keyfold-[0-9a-f]{32}/.exec((await page.locator("main").textContent()) ?? "")?.[0]
  await page.evaluate("document.querySelectorAll('.steps > li')[1].scrollIntoView()")
  await take("steps")

  const account = { accountId: "444455556666" }
  const keyId = world.aws.createKey(account)
  const roleArn = world.aws.createRole({ ...account, name: "keyfold", externalId: String(externalId) })
  world.aws.deny("key-policy", "kms:Decrypt", keyId)
  await page.locator("#keyId").fill(keyId)
  await page.locator("#roleArn").fill(roleArn)
  await check()
  await page.evaluate("document.querySelector('.check.fail').scrollIntoView()")
  await take("failure", 545)

  world.aws.allow("key-policy", "kms:Decrypt", keyId)
  await check()
  await page.locator("#outcome.good").waitFor()
  await page.evaluate("document.querySelector('#outcome').scrollIntoView({ block: 'end' })")
  await take("complete")

  const sealed = await world.keyfold.encrypt("078-05-1120", { context: MATCH })
  await world.keyfold.decrypt(sealed, { context: MATCH })
  await page.emulateMedia({ colorScheme: "dark" })
  await page.getByRole("link", { name: "See its status" }).click()
  await page.waitForURL(/\/portal$/)
  await take("status")

  await page.emulateMedia({ colorScheme: "light" })
  await page.goto(world.url + (await createOperatorLink(world.store)).path)
  await page.getByRole("button", { name: "Continue" }).click()
  await page.waitForURL(/\/operator$/)
  await take("operator")
} finally {
  await browser.close()
  await world.close()
}
