/** One method of the service. */
export type Rpc = {
  /** The IAM permission it needs; undefined for one that everybody may call. */
  readonly permission: string | undefined
  /** The name in the request that the permission is asked for: a location, a key ring, a key or a version. */
  readonly resource: (request: object) => string
  /** @throws RpcError */
  readonly answer: (request: object) => object
}

/** What the proto loader makes of a request: absent strings are empty, absent messages null, int64 is text. */
export type Named = { readonly name: string }
export type Parented = { readonly parent: string }

/** A method of Cloud KMS with a request of this type. */
export function rpc<Request extends object>(
  permission: string,
  resource: (request: Request) => string,
  answer: (request: Request) => object,
): Rpc {
  return {
    permission: `cloudkms.${permission}`,
    resource: (request) => resource(request as Request),
    answer: (request) => answer(request as Request),
  }
}

export function nameOf(request: Named): string {
  return request.name
}

export function parentOf(request: Parented): string {
  return request.parent
}
