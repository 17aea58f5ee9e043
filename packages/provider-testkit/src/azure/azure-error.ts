import type { HttpReply } from "../http-service.ts"

/** A failure as Key Vault puts it on the wire. */
export class AzureError extends Error {
  readonly status: number
  readonly code: string
  /** Tells apart what `code` does not, such as the reasons for `Forbidden`. */
  readonly innerCode: string | undefined
  readonly headers: Readonly<Record<string, string>>

  constructor(
    status: number,
    code: string,
    message: string,
    innerCode?: string,
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(message)
    this.name = innerCode ?? code
    this.status = status
    this.code = code
    this.innerCode = innerCode
    this.headers = headers
  }
}

export function jsonReply(
  status: number,
  body: object,
  headers: Readonly<Record<string, string>> = {},
): HttpReply {
  const contentType = { "content-type": "application/json; charset=utf-8" }
  return { status, headers: { ...contentType, ...headers }, body: JSON.stringify(body) }
}

export function errorReply({ status, code, message, innerCode, headers }: AzureError): HttpReply {
  const innererror = innerCode === undefined ? {} : { innererror: { code: innerCode } }
  return jsonReply(status, { error: { code, message, ...innererror } }, headers)
}

export function badParameter(message: string): AzureError {
  return new AzureError(400, "BadParameter", message)
}

export function keyNotFound(name: string): AzureError {
  return new AzureError(
    404,
    "KeyNotFound",
    `A key with (name/id) ${name} was not found in this key vault. If you recently deleted this key you may be ` +
      "able to recover it using the correct recovery command.",
  )
}
