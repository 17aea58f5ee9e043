import { type SubjectOptions, subjectOf } from "../byok-subject.ts"

type Options = SubjectOptions & { principal: string; vaultId?: string; terraform?: true; json?: true }

/** Prints policies for the key's administrator to read, to change, and to apply. */
export async function policy(options: Options): Promise<void> {
  const { provider, keyId, match, options: access } = await subjectOf(options)
  const { policiesFor } = await import("@keyfold/byok")
  const policies = policiesFor({
    ...{ provider, keyId, match, principal: options.principal, vaultResourceId: options.vaultId },
    ...{ roleArn: textOf(access.roleArn), externalId: textOf(access.externalId) },
    tenantId: textOf(access.tenantId),
  })
  if (options.json) return console.log(JSON.stringify({ policies }))
  for (const { where, json, terraform } of policies) {
    // With --terraform the whole output is one file: what is no Terraform is a comment.
    console.log(
      options.terraform ? `# ${where}\n${terraform}` : `${where}:\n${JSON.stringify(json, null, 2)}\n`,
    )
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined
}
