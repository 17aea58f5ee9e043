import { generate } from "selfsigned"

/** PEM throughout. */
export type ServerCertificate = {
  readonly key: string
  readonly cert: string
  /** Of the authority that issued it, which clients must trust. */
  readonly ca: string
}

/** A certificate for this machine, by an authority whose key is thrown away. Both are new at each call. */
export async function createServerCertificate(): Promise<ServerCertificate> {
  const common = {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - DAY_MS),
    notAfterDate: new Date(Date.now() + 365 * DAY_MS),
  } as const
  const authority = await generate([{ name: "commonName", value: "keyfold emulator CA" }], {
    ...common,
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, critical: true },
    ],
  })
  const server = await generate([{ name: "commonName", value: "localhost" }], {
    ...common,
    ca: { key: authority.private, cert: authority.cert },
    extensions: [
      { name: "basicConstraints", cA: false },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      {
        name: "subjectAltName",
        altNames: [
          { type: 2, value: "localhost" },
          { type: 7, ip: "127.0.0.1" },
        ],
      },
    ],
  })
  return { key: server.private, cert: server.cert, ca: authority.cert }
}

const DAY_MS = 86_400_000
