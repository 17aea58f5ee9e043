import { type PolicyRequest, policiesFor, validateCmk } from "@keyfold/byok"
import { describe, expect, test } from "vitest"
import { awsLab, azureLab, bindingOf, gcpLab, MATCH } from "./clouds.ts"

const PRINCIPALS = {
  "aws-kms": "arn:aws:iam::111122223333:role/keyfold",
  "azure-keyvault": "00000000-0000-0000-0000-00000000abcd",
  "gcp-kms": "serviceAccount:keyfold@customer.iam.gserviceaccount.com",
} as const
const KEY_IDS = {
  "aws-kms": "arn:aws:kms:eu-central-1:444455556666:key/1234abcd-12ab-34cd-56ef-1234567890ab",
  "azure-keyvault": `https://customer.vault.azure.net/keys/keyfold/${"0".repeat(32)}`,
  "gcp-kms": "projects/p/locations/europe-west3/keyRings/r/cryptoKeys/k",
} as const
type ProviderId = keyof typeof KEY_IDS

const requestFor = (provider: ProviderId, change: Partial<PolicyRequest> = {}): PolicyRequest => ({
  ...{ provider, keyId: KEY_IDS[provider], principal: PRINCIPALS[provider], match: MATCH },
  ...change,
})
const ofKind = (kind: string, request: PolicyRequest) => {
  const found = policiesFor(request).find((policy) => policy.kind === kind)
  if (found === undefined) throw new Error(`there is no ${kind}`)
  return found
}

describe("an emulator that allows exactly what the policy does", () => {
  /** What each emulator can withhold; the conditions of AWS policies are none of it. */
  const EVERYTHING = {
    aws: [
      "Encrypt",
      "Decrypt",
      "DescribeKey",
      "GenerateDataKey",
      "ReEncryptFrom",
      "ReEncryptTo",
      "DisableKey",
    ]
      .concat([
        "EnableKey",
        "ScheduleKeyDeletion",
        "CancelKeyDeletion",
        "CreateAlias",
        "GetKeyRotationStatus",
      ])
      .map((each) => `kms:${each}`),
    gcp: [
      "cryptoKeyVersions.useToEncrypt",
      "cryptoKeyVersions.useToDecrypt",
      "cryptoKeys.get",
      "cryptoKeys.update",
    ]
      .concat(["cryptoKeyVersions.get", "cryptoKeyVersions.destroy", "cryptoKeyVersions.create"])
      .map((each) => `cloudkms.${each}`),
    azure: ["get", "list", "create", "update", "delete", "recover", "purge", "rotate"].concat([
      "encrypt",
      "decrypt",
      "wrapKey",
      "unwrapKey",
    ]),
  } as const

  /** Passes with the policy, and fails without any one of its actions: it is the least. */
  async function isLeast(
    validate: () => Promise<{ result: string }>,
    everything: readonly string[],
    granted: readonly string[],
    deny: (action: string) => void,
    allow: (action: string) => void,
  ) {
    expect(granted.filter((each) => !everything.includes(each))).toEqual([])
    for (const action of everything) if (!granted.includes(action)) deny(action)
    expect((await validate()).result).not.toBe("fail")
    for (const action of granted) {
      deny(action)
      expect([action, (await validate()).result]).toEqual([action, "fail"])
      allow(action)
    }
  }

  test("aws", async () => {
    const { emulator, provider, close } = await awsLab()
    const keyId = emulator.createKey()
    for (const kind of ["aws-key-policy", "aws-iam-policy"] as const) {
      const { json } = ofKind(kind, requestFor("aws-kms", { keyId }))
      const { Statement } = json as { Statement: { Action: string[] }[] }
      const layer = kind === "aws-key-policy" ? "key-policy" : "identity-policy"
      await isLeast(
        () => validateCmk(provider, bindingOf(keyId)),
        EVERYTHING.aws,
        Statement.flatMap(({ Action }) => Action),
        (action) => emulator.deny(layer, action, keyId),
        (action) => emulator.allow(layer, action, keyId),
      )
    }
    await close()
  })

  test("azure", async () => {
    const { emulator, provider, close } = await azureLab()
    const keyId = emulator.createKey()
    const request = requestFor("azure-keyvault", { keyId })
    // The emulator's permissions have the names of access policies; those of data actions are its own to map.
    const ofAction: Readonly<Record<string, string>> = { read: "get", wrap: "wrapKey", unwrap: "unwrapKey" }
    const roles = ofKind("azure-role-assignment", request).actions.map(
      (action) => ofAction[/keys\/(\w+)/.exec(action)?.[1] ?? ""] ?? action,
    )
    const { json } = ofKind("azure-access-policy", request)
    const { permissions } = json as { permissions: { keys: string[] } }
    type Permission = Parameters<typeof emulator.deny>[1]
    for (const [layer, granted] of [
      ["rbac", roles],
      ["access-policy", permissions.keys],
    ] as const) {
      await isLeast(
        () => validateCmk(provider, bindingOf(keyId)),
        EVERYTHING.azure,
        granted,
        (action) => emulator.deny(layer, action as Permission, keyId),
        (action) => emulator.allow(layer, action as Permission, keyId),
      )
    }
    await close()
  })

  test("gcp", async () => {
    const { emulator, provider, close } = await gcpLab()
    const keyId = emulator.createKey()
    const { actions } = ofKind("gcp-iam-binding", requestFor("gcp-kms", { keyId }))
    await isLeast(
      () => validateCmk(provider, bindingOf(keyId)),
      EVERYTHING.gcp,
      actions,
      (action) => emulator.deny(action, keyId),
      (action) => emulator.allow(action, keyId),
    )
    await close()
  })
})

test("a denial comes with the policy of the layer that denied", async () => {
  const { emulator, provider, close } = await azureLab()
  const keyId = emulator.createKey()
  const policyOf = async () => {
    const { checks } = await validateCmk(provider, bindingOf(keyId), {
      principal: PRINCIPALS["azure-keyvault"],
    })
    return JSON.parse(checks.find(({ status }) => status === "fail")?.policy ?? "null")
  }
  emulator.deny("access-policy", "wrapKey", keyId)
  expect(await policyOf()).toMatchObject({ permissions: { keys: ["get", "wrapKey", "unwrapKey"] } })
  emulator.allow("access-policy", "wrapKey", keyId)
  emulator.deny("rbac", "wrapKey", keyId)
  expect(await policyOf()).toMatchObject({ type: "Microsoft.Authorization/roleAssignments" })
  await expect(validateCmk(provider, bindingOf(keyId), { principal: 'a"b' })).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
  })
  const foreign = { ...provider, id: "other-kms" }
  expect((await validateCmk(foreign, bindingOf(keyId))).checks.find(({ id }) => id === "wrap")).toMatchObject(
    {
      ...{ status: "fail", reason: "PERMISSION_MISSING", policy: null },
    },
  )
  await close()
})

test("aws: uses of the key are pinned to the tenant's pairs, and a role to its external id", () => {
  const roleArn = "arn:aws:iam::444455556666:role/keyfold"
  const request = requestFor("aws-kms", {
    roleArn,
    externalId: "tenant-1",
    match: { a: "1", b: "\u0024{aws:x}" },
  })
  const StringEquals = { "kms:EncryptionContext:a": "1", "kms:EncryptionContext:b": "\u0024{$}{aws:x}" }
  expect(policiesFor(request).map(({ json }) => json)).toEqual([
    {
      Version: "2012-10-17",
      Statement: [
        {
          ...{ Sid: "KeyfoldUse", Effect: "Allow", Action: ["kms:Encrypt", "kms:Decrypt"] },
          ...{ Principal: { AWS: roleArn }, Resource: "*", Condition: { StringEquals } },
        },
        {
          ...{ Sid: "KeyfoldDescribe", Effect: "Allow", Action: ["kms:DescribeKey"] },
          ...{ Principal: { AWS: roleArn }, Resource: "*" },
        },
      ],
    },
    {
      Version: "2012-10-17",
      Statement: [
        {
          ...{ Sid: "KeyfoldUse", Effect: "Allow", Action: ["kms:Encrypt", "kms:Decrypt"] },
          ...{ Resource: KEY_IDS["aws-kms"], Condition: { StringEquals } },
        },
        {
          ...{ Sid: "KeyfoldDescribe", Effect: "Allow", Action: ["kms:DescribeKey"] },
          Resource: KEY_IDS["aws-kms"],
        },
      ],
    },
    {
      Version: "2012-10-17",
      Statement: [
        {
          ...{ Sid: "KeyfoldAssume", Effect: "Allow", Action: ["sts:AssumeRole"] },
          Principal: { AWS: PRINCIPALS["aws-kms"] },
          Condition: { StringEquals: { "sts:ExternalId": "tenant-1" } },
        },
      ],
    },
  ])
})

test("azure: the least role that reads, wraps and unwraps, on that one key", () => {
  const vaultResourceId = "/subscriptions/s/resourceGroups/g/providers/Microsoft.KeyVault/vaults/customer"
  const { json, terraform } = ofKind(
    "azure-role-assignment",
    requestFor("azure-keyvault", { vaultResourceId }),
  )
  expect(json).toMatchObject({
    scope: `${vaultResourceId}/keys/keyfold`,
    properties: {
      roleDefinitionId: expect.stringMatching(/e147488a-f6f5-4113-8e2d-b22465e65bf6$/),
      principalId: PRINCIPALS["azure-keyvault"],
    },
  })
  expect(terraform).toContain(`scope                = "${vaultResourceId}/keys/keyfold"`)
  const keyId = `https://customer.managedhsm.azure.net/keys/keyfold/${"0".repeat(32)}`
  expect(ofKind("azure-hsm-role-assignment", requestFor("azure-keyvault", { keyId })).json).toMatchObject({
    ...{ hsmName: "customer", scope: "/keys/keyfold" },
  })
})

test("gcp: two roles on the key", () => {
  const { json, terraform } = ofKind("gcp-iam-binding", requestFor("gcp-kms"))
  const members = [PRINCIPALS["gcp-kms"]]
  expect(json).toEqual({
    bindings: [
      { role: "roles/cloudkms.cryptoKeyEncrypterDecrypter", members },
      { role: "roles/cloudkms.viewer", members },
    ],
  })
  expect(terraform.match(/google_kms_crypto_key_iam_member/g)).toHaveLength(2)
})

describe("Terraform", () => {
  test("holds the same documents", () => {
    for (const { json, terraform } of policiesFor(
      requestFor("aws-kms", { roleArn: PRINCIPALS["aws-kms"] }),
    )) {
      const [, encoded = ""] = /jsonencode\((.*?)\)\]?$/m.exec(terraform) ?? []
      expect(JSON.parse(encoded)).toEqual(json)
    }
  })

  test("interpolates nothing of a context, and takes over no character that it cannot read", () => {
    const match = { 'na"me': '\u0024{file("/etc/passwd")} %{ for x in y } \b\f \\b' }
    const { terraform } = ofKind("aws-iam-policy", requestFor("aws-kms", { match }))
    expect(terraform.replaceAll("$${", "").replaceAll("%%{", "")).not.toMatch(/[$%]\{/)
    expect(terraform).not.toMatch(/(?<!\\)(\\\\)*\\[bf]/)
    expect(terraform).toContain("\\u0008\\u000c \\\\b")
  })
})

test("what is no id of a cloud is refused", () => {
  for (const change of [
    { principal: 'x" }' },
    { principal: "\u0024{x}" },
    { principal: "" },
    { provider: "ibm" },
    { keyId: "a\nb" },
  ]) {
    expect(() => policiesFor(requestFor("aws-kms", change))).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    )
  }
  expect(() => policiesFor(requestFor("azure-keyvault", { keyId: "x" }))).toThrow(/https:/)
  expect(() => policiesFor(requestFor("aws-kms", { match: {} }))).toThrow(
    expect.objectContaining({ code: "INVALID_CONTEXT" }),
  )
})
