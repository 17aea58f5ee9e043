import { type AwsKmsKeyOptions, awsKms, awsKmsClients } from "@keyfold/kek-aws-kms"
import type { Cloud } from "../clouds.ts"

/** AWS KMS, called as whoever the SDK's own chain of credentials finds. */
export function awsCloud(): Cloud {
  const clients = awsKmsClients()
  const provider = awsKms({ clients })
  return {
    kek: (keyId, options) => provider.kek(keyId, options as AwsKmsKeyOptions),
    async resolveKeyId(name, options, call) {
      if (KEY_ARN.test(name)) return name
      return provider.resolveKeyId(name, options as AwsKmsKeyOptions, call)
    },
    hintDenials: (keyId, options, ...rest) =>
      provider.hintDenials(keyId, options as AwsKmsKeyOptions, ...rest),
    async close() {
      clients.close()
    },
  }
}

/** One of a key, and not of an alias. */
const KEY_ARN = /^arn:[^:]+:kms:[^:]+:[^:]+:key\//
