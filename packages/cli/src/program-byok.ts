import type { Command } from "commander"
import { home, json, withExamples } from "./options.ts"
import { CREDENTIALS, match, withKeyOptions } from "./program-bindings.ts"

export function addByokCommands(byok: Command): void {
  const validate = withKeyOptions(byok.command("validate"), false)
    .description(
      "try a customer's key, bound or not, and say what is wrong, on whose side, and what mends it",
    )
    .addOption(match().makeOptionMandatory())
    .option("--owner <name>", "whose key it is (default: the match)")
    .option("--expected-region <region>", "where the key must be")
    .option("--principal <id>", "who keyfold is in that cloud, for the policies to add")
    .option("--deadline <seconds>", "how long it may take, at most 600", "30")
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/byok-validate.ts")).validate(options))
  withExamples(
    validate,
    "keyfold byok validate --match organization_id=org_1",
    "keyfold byok validate --match organization_id=org_1 --provider gcp-kms \\",
    "  --key-id projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k --json",
  )
  validate.addHelpText("after", CREDENTIALS)

  const status = byok
    .command("status")
    .description("show bindings, when each key was last validated, and how it is now, by one call each")
    .addOption(match())
    .option("--no-check", "ask no key")
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/byok-status.ts")).status(options))
  withExamples(status, "keyfold byok status", "keyfold byok status --match organization_id=org_1 --json")

  const policy = withKeyOptions(byok.command("policy"), false)
    .description(
      "print the least that keyfold needs to be allowed on a customer's key; nothing is asked or changed",
    )
    .addOption(match().makeOptionMandatory())
    .requiredOption(
      "--principal <id>",
      "who keyfold is in that cloud: an IAM ARN, an object id, serviceAccount:NAME@PROJECT…",
    )
    .option("--vault-id <id>", "azure-keyvault: resource id of the vault, /subscriptions/…/vaults/NAME")
    .option("--terraform", "print Terraform in place of JSON")
    .addOption(home())
    .addOption(json())
    .action(async (options) => (await import("./commands/byok-policy.ts")).policy(options))
  withExamples(
    policy,
    "keyfold byok policy --match organization_id=org_1 --principal arn:aws:iam::111122223333:role/keyfold",
    "keyfold byok policy --match organization_id=org_1 --provider gcp-kms --terraform \\",
    "  --key-id projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k \\",
    "  --principal serviceAccount:keyfold@p.iam.gserviceaccount.com",
  )
}
