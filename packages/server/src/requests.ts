/** What requests hold: read whole and checked before anything is done. */
import type { KeyContext } from "@keyfold/core"
import type { ListQuery } from "@keyfold/vault"
import type { Context } from "hono"
import { z } from "zod"
import { RequestError } from "./failure.ts"
import { PROVIDERS } from "./portal/clouds.ts"

/** Passed on as it came, for core checks it whole; a copy could lose a pair such as `__proto__`. */
const keyContext = z.custom<KeyContext>(
  (value) => typeof value === "object" && value !== null && !Array.isArray(value),
  "must be an object of strings",
)
const base64 = z
  .string()
  .max(100_000)
  .regex(/^(?:[\w+/-]{4})*(?:[\w+/-]{2,3}={0,2})?$/, "must be base64")
  .transform((text) => new Uint8Array(Buffer.from(text, "base64")))
const id = z.string().min(1).max(100)

export const createBody = z.object({
  name: z.string().min(1).max(200),
  value: z.string(),
  key_context: keyContext,
})
export const updateBody = z.object({ value: z.string(), version_check: id.nullish() })
export const dataKeyBody = z.object({ context: keyContext })
export const decryptBody = z.object({ keys: base64 })
export const rekeyBody = z.object({ context: keyContext, encrypted_keys: base64 })
export const portalLinkBody = z.object({
  match: keyContext,
  owner: z.string().min(1).max(1000).optional(),
  providers: z.array(z.enum(PROVIDERS)).optional(),
  expected_region: z.string().min(1).max(100).optional(),
  /** Seconds. */
  expires_in: z.int().min(60).max(2_592_000).optional(),
})
export const deleteQuery = z.object({ version_check: id.optional() })

/** ISO 8601 by most SDKs; Node's sends `Date.toString()`, under another name when it asks for the first page. */
const moment = z
  .string()
  .max(100)
  .transform((text) => Date.parse(text))
  .refine(Number.isFinite, "must be a date, such as 2026-01-31T10:00:00Z")

export const listQuery = z
  .object({
    limit: z.coerce.number().int().min(1).max(100).default(10),
    order: z.enum(["asc", "desc"]).default("desc"),
    after: id.optional(),
    before: id.optional(),
    search: z.string().max(200).optional(),
    updatedAfter: moment.optional(),
    updated_after: moment.optional(),
  })
  .refine(
    ({ after, before }) => after === undefined || before === undefined,
    "give after or before, not both",
  )
  .transform(
    ({ updated_after, ...query }): ListQuery => ({
      ...query,
      updatedAfter: query.updatedAfter ?? updated_after,
    }),
  )

const texts = z
  .union([z.string(), z.array(z.string())])
  .transform((given) => (typeof given === "string" ? given.split(",") : given))
export const eventsQuery = z
  .object({
    limit: z.coerce.number().int().min(1).max(100).default(10),
    order: z.enum(["asc", "desc"]).default("desc"),
    after: id.optional(),
    before: id.optional(),
    events: texts.optional(),
    range_start: moment.optional(),
    range_end: moment.optional(),
    organization_id: z.string().max(500).optional(),
  })
  .refine(
    ({ after, before }) => after === undefined || before === undefined,
    "give after or before, not both",
  )
  .transform(({ events, range_start, range_end, organization_id, ...query }) => ({
    ...query,
    types: events,
    from: range_start,
    until: range_end,
    organizationId: organization_id,
  }))

/** The body, as JSON of this shape. @throws RequestError 400, 415, or `status` for a wrong shape */
export async function bodyOf<T>(context: Context, schema: z.ZodType<T>, status: 400 | 422): Promise<T> {
  const type = context.req.header("content-type") ?? ""
  if (!/^application\/json\s*(?:;|$)/i.test(type))
    throw new RequestError(415, "unsupported_media_type", "send the body as application/json")
  let body: unknown
  try {
    body = JSON.parse(await context.req.text())
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON") // the parser's message would quote it
  }
  return checked(schema, body, status)
}

/** The query, of this shape; a parameter that is empty counts as none, and one that is unknown is ignored. */
export function queryOf<T>(context: Context, schema: z.ZodType<T>): T {
  const given = Object.entries(context.req.queries())
    .map(([name, values]) => [name, values.length === 1 ? values[0] : values] as const)
    .filter(([, value]) => value !== "")
  return checked(schema, Object.fromEntries(given), 400)
}

/** Says what is wrong where, and never quotes it. */
function checked<T>(schema: z.ZodType<T>, value: unknown, status: 400 | 422): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const where = issue?.path.join(".") || "the request"
  throw new RequestError(status, "invalid_request", `${where}: ${issue?.message ?? "is not valid"}`)
}
