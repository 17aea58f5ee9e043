import { type Policy, policiesFor } from "@keyfold/byok"
import { KeyfoldError } from "@keyfold/core"
import type { ProviderId } from "./clouds.ts"
import type { Typed } from "./key-form.ts"
import type { PortalTenant } from "./link.ts"

/** One thing that the administrator does in the cloud's console, with the policies that belong to it. */
export type Step = {
  readonly title: string
  readonly text: readonly string[]
  readonly policies: readonly Policy[]
}

/** What an administrator does before the key can be checked; with its ids, where they are known already. */
export function stepsFor(
  provider: ProviderId,
  principal: string,
  tenant: PortalTenant,
  typed: Typed,
): readonly Step[] {
  const policies = policiesOf(provider, principal, tenant, typed)
  const of = (...kinds: readonly Policy["kind"][]) =>
    kinds.flatMap((wanted) => policies.filter(({ kind }) => kind === wanted))
  const where = tenant.expectedRegion === undefined ? "" : ` It must be in ${tenant.expectedRegion}.`
  switch (provider) {
    case "aws-kms":
      return [
        {
          title: "Create a key",
          text: [
            `In the AWS console open Key Management Service, Customer managed keys, Create key. Choose Symmetric, and Encrypt and decrypt.${where}`,
            "Turn its automatic rotation on: nothing has to be changed here when it rotates.",
          ],
          policies: [],
        },
        {
          title: "Create a role that we may assume",
          text: [
            `In IAM create a role named keyfold with this trust policy. The external id ${tenant.externalId} is yours alone, and the same in every link you get.`,
            "Then attach the second policy to that role.",
          ],
          policies: of("aws-trust-policy", "aws-iam-policy"),
        },
        {
          title: "Allow the role to use the key",
          text: [
            "Add these statements to the key's policy; they change nothing that is in it. The condition keeps the key from being used for anybody's data but yours.",
          ],
          policies: of("aws-key-policy"),
        },
      ]
    case "azure-keyvault":
      return [
        {
          title: "Create a key",
          text: [
            `In the Azure portal open your key vault, or create one with purge protection and the permission model Azure role-based access control. Under Keys choose Generate: RSA, 3072 bits.${where}`,
            "In a Managed HSM, create a symmetric key (oct-HSM) of 256 bits.",
          ],
          policies: [],
        },
        {
          title: "Allow us to use the key",
          text: [
            `We are ${principal}. In your directory, Enterprise applications, our application has an object id of its own: where it is another one, put it in the place of this.`,
            "On the key's own page, under Access control, assign the role Key Vault Crypto Service Encryption User to it. A vault with access policies takes the second form.",
          ],
          policies: of("azure-role-assignment", "azure-access-policy", "azure-hsm-role-assignment"),
        },
        {
          title: "Let us through the firewall",
          text: ["Where the vault is open to selected networks only, add our addresses; ask us for them."],
          policies: [],
        },
      ]
    case "gcp-kms":
      return [
        {
          title: "Create a key",
          text: [
            `In the Google Cloud console open Security, Key Management. In a key ring create a key: Symmetric encrypt/decrypt, with a rotation period.${where}`,
          ],
          policies: [],
        },
        {
          title: "Allow us to use the key",
          text: [
            `On the key's Permissions tab grant ${principal} these two roles, on the key alone. The second one only reads its state.`,
          ],
          policies: of("gcp-iam-binding"),
        },
      ]
  }
}

function policiesOf(provider: ProviderId, principal: string, tenant: PortalTenant, typed: Typed) {
  const { match, externalId } = tenant
  const common = { provider, match, principal, externalId }
  const example = { keyId: EXAMPLES[provider], roleArn: provider === "aws-kms" ? EXAMPLE_ROLE : undefined }
  const { keyId = example.keyId, roleArn = example.roleArn, tenantId } = filled(typed)
  try {
    return policiesFor({ ...common, keyId, roleArn, tenantId })
  } catch (error) {
    // What was typed is no id; the validation says so.
    if (!(error instanceof KeyfoldError)) throw error
    return policiesFor({ ...common, ...example })
  }
}

function filled(typed: Typed): Partial<Typed> {
  return Object.fromEntries(Object.entries(typed).filter(([, text]) => text !== ""))
}

const EXAMPLE_ROLE = "arn:aws:iam::ACCOUNT:role/keyfold"
const EXAMPLES: Readonly<Record<ProviderId, string>> = {
  "aws-kms": "arn:aws:kms:REGION:ACCOUNT:key/KEY-ID",
  "azure-keyvault": "https://your-vault.vault.azure.net/keys/your-key",
  "gcp-kms": "projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY",
}
