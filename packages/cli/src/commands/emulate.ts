import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { KeyfoldError } from "@keyfold/core"
import { onFailure } from "../cleanup.ts"
import type { CloudId } from "../clouds.ts"

/** Runs until it is interrupted, which also takes its files away. */
export async function emulate(cloud: string, options: { port: string; json?: true }): Promise<void> {
  const start = Object.hasOwn(STARTERS, cloud) ? STARTERS[cloud] : undefined
  if (start === undefined)
    throw new KeyfoldError("INVALID_ARGUMENT", "there are emulators of aws, azure and gcp")
  const running = await start(portOf(options.port)).catch((error: unknown) => {
    throw listenFailure(options.port, error)
  })
  console.log(options.json ? JSON.stringify(running) : textOf(running))
}

/** What a client in another process needs. */
type Running = {
  readonly url: string
  readonly provider: CloudId
  readonly keyId: string
  /** For the environment of the commands that use the key. */
  readonly env: Readonly<Record<string, string>>
  /** Arguments of `keyfold binding add`, beside the match, the provider and the key id. */
  readonly arguments: readonly string[]
  /** The cloud's own words for the same. */
  readonly [detail: string]: unknown
}

async function startAws(port: number): Promise<Running> {
  const { startAwsEmulator } = await import("@keyfold/provider-testkit/aws")
  const emulator = await startAwsEmulator({ port })
  const { url, region, credentials } = emulator
  const { accessKeyId, secretAccessKey } = credentials
  return {
    url,
    provider: "aws-kms",
    keyId: emulator.createKey(),
    region,
    endpoint: url,
    credentials,
    env: { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey },
    arguments: ["--endpoint", url],
  }
}

async function startAzure(port: number): Promise<Running> {
  const { startAzureEmulator } = await import("@keyfold/provider-testkit/azure")
  const emulator = await startAzureEmulator({ port })
  const { url, client, caCertificate } = emulator
  const folder = mkdtempSync(join(tmpdir(), "keyfold-emulator-"))
  onFailure(() => rmSync(folder, { recursive: true, force: true }))
  const caFile = join(folder, "ca.pem")
  writeFileSync(caFile, caCertificate)
  return {
    url,
    provider: "azure-keyvault",
    keyId: emulator.createKey(),
    authority: url,
    caFile,
    ...client,
    env: {
      AZURE_TENANT_ID: client.tenantId,
      AZURE_CLIENT_ID: client.clientId,
      AZURE_CLIENT_SECRET: client.clientSecret,
    },
    arguments: ["--authority", url, "--ca-file", caFile],
  }
}

async function startGcp(port: number): Promise<Running> {
  const { startGcpEmulator } = await import("@keyfold/provider-testkit/gcp")
  const emulator = await startGcpEmulator({ port })
  const { url, connection } = emulator
  const endpoint = `${connection.apiEndpoint}:${connection.port}`
  return {
    url,
    provider: "gcp-kms",
    keyId: emulator.createKey(),
    endpoint,
    projectId: connection.projectId,
    env: {},
    arguments: ["--endpoint", endpoint, "--insecure-emulator"],
  }
}

/** A shell can also read it as it is. */
function textOf({ url, provider, keyId, env, arguments: more }: Running): string {
  return [
    `# A local ${provider} at ${url}, with one key. Ctrl-C ends it and its keys. Try it in another terminal:`,
    ...Object.entries(env).map(([name, value]) => `export ${name}=${quoted(value)}`),
    `keyfold binding add --match organization_id=org_1 --provider ${provider} --key-id ${quoted(keyId)} ${more.map(quoted).join(" ")}`,
    "# keyfold encrypt -c organization_id=org_1 -i secret.txt -o secret.kf",
  ].join("\n")
}

function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`
}

export function portOf(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) < 65_536) return Number(text)
  throw new KeyfoldError("INVALID_ARGUMENT", "--port is a number from 0, which takes any free one, to 65535")
}

function listenFailure(port: string, error: unknown): unknown {
  const why = { EADDRINUSE: "is in use", EACCES: "needs more rights" }[
    String((error as { code?: unknown }).code)
  ]
  if (why === undefined) return error
  return new KeyfoldError("INVALID_ARGUMENT", `port ${port} ${why}: take another one with --port`, {
    cause: error,
  })
}

const STARTERS: Readonly<Record<string, (port: number) => Promise<Running>>> = {
  aws: startAws,
  azure: startAzure,
  gcp: startGcp,
}
