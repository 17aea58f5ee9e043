import { z } from "zod"
import {
  createBody,
  dataKeyBody,
  decryptBody,
  deleteQuery,
  eventsQuery,
  listQuery,
  portalLinkBody,
  rekeyBody,
  updateBody,
} from "./requests.ts"

/** What this server answers, as an OpenAPI 3.1 document made of the schemas that check the requests. */
export function openApiDocument({ hasPortal }: { readonly hasPortal: boolean }) {
  return {
    openapi: "3.1.0",
    info: {
      title: "keyfold vault",
      version: "1",
      description: "Versioned encrypted objects and data keys, by the public contract of WorkOS Vault.",
    },
    components: {
      securitySchemes: { apiKey: { type: "http", scheme: "bearer", description: "sk_…" } },
      schemas: { Failure: schemaOf(failure) },
    },
    security: [{ apiKey: [] }],
    paths: {
      "/vault/v1/kv": {
        get: operation("List objects", { query: listQuery, 200: objectList, fails: [400] }),
        post: operation("Create an object", { body: createBody, 201: metadata, fails: [400, 409, 422] }),
      },
      "/vault/v1/kv/{id}": {
        parameters: [pathParameter("id")],
        get: operation("Read an object", { 200: object, fails: [403, 404] }),
        put: operation("Update an object", { body: updateBody, 201: withoutValue, fails: [400, 404, 409] }),
        delete: operation("Delete an object", { query: deleteQuery, 200: deleted, fails: [404, 409] }),
      },
      "/vault/v1/kv/name/{name}": {
        parameters: [pathParameter("name")],
        get: operation("Read an object by its name", { 200: object, fails: [403, 404] }),
      },
      "/vault/v1/kv/{id}/metadata": {
        parameters: [pathParameter("id")],
        get: operation("Describe an object", { 200: withoutValue, fails: [404] }),
      },
      "/vault/v1/kv/{id}/versions": {
        parameters: [pathParameter("id")],
        get: operation("List the versions of an object", { 200: versionList, fails: [404] }),
      },
      "/vault/v1/keys/data-key": {
        post: operation("Create a data key", { body: dataKeyBody, 200: dataKey, fails: [400, 422] }),
      },
      "/vault/v1/keys/decrypt": {
        post: operation("Decrypt a data key", { body: decryptBody, 200: openedKey, fails: [400] }),
      },
      "/vault/v1/keys/rekey": {
        post: operation("Seal a data key under another context", {
          ...{ body: rekeyBody, 200: dataKey, fails: [400, 422] },
        }),
      },
      "/events": {
        get: operation("List events", { query: eventsQuery, 200: eventList, fails: [400, 403] }),
      },
      ...(hasPortal && {
        "/portal-links": {
          post: operation("Make a link to the admin portal, for one tenant and one visit", {
            ...{ body: portalLinkBody, 201: portalLink, fails: [400, 403, 422] },
          }),
        },
      }),
    },
  }
}

type Parts = {
  readonly body?: z.ZodType
  readonly query?: z.ZodType
  readonly 200?: z.ZodType
  readonly 201?: z.ZodType
  readonly fails: readonly number[]
}

function operation(summary: string, parts: Parts) {
  const { body, query, fails } = parts
  const statuses = ([200, 201] as const).filter((status) => parts[status] !== undefined)
  return {
    summary,
    ...(body !== undefined && { requestBody: { required: true, content: jsonOf(schemaOf(body)) } }),
    ...(query !== undefined && { parameters: queryParameters(query) }),
    responses: {
      ...Object.fromEntries(
        statuses.map((status) => [
          status,
          { description: "Done", content: jsonOf(schemaOf(parts[status] as z.ZodType, "output")) },
        ]),
      ),
      ...Object.fromEntries(
        [401, ...fails, 429, 500, 503].map((status) => [
          status,
          { description: WHY[status], content: jsonOf({ $ref: "#/components/schemas/Failure" }) },
        ]),
      ),
    },
  }
}

function jsonOf(schema: object) {
  return { "application/json": { schema } }
}

function pathParameter(name: string) {
  return { name, in: "path", required: true, schema: { type: "string" } }
}

function queryParameters(query: z.ZodType) {
  const { properties = {} } = schemaOf(query)
  return Object.entries(properties).map(([name, schema]) => ({ name, in: "query", schema }))
}

/** The JSON schema of what is sent, or of what is answered. */
function schemaOf(type: z.ZodType, io: "input" | "output" = "input") {
  const { $schema: _, ...schema } = z.toJSONSchema(type, {
    io,
    unrepresentable: "any",
    // A key context, which core checks whole (docs/format.md, "Key context").
    override: ({ zodSchema, jsonSchema }) => {
      if (zodSchema._zod.def.type === "custom") {
        Object.assign(jsonSchema, {
          type: "object",
          minProperties: 1,
          maxProperties: 10,
          propertyNames: { maxLength: 120 },
          additionalProperties: { type: "string", maxLength: 500 },
        })
      }
    },
  })
  return schema
}

const text = z.string()
const time = z.iso.datetime()
const keyContext = z.record(text, text)
const failure = z.object({ error: text, message: text, code: text })
const listMetadata = z.object({ before: text.nullable(), after: text.nullable() })
const metadata = z.object({
  id: text,
  environment_id: text,
  key_id: text,
  context: keyContext,
  updated_at: time,
  updated_by: z.object({ id: text, name: text }),
  version_id: text,
})
const withoutValue = z.object({ id: text, name: text, metadata })
const object = withoutValue.extend({ value: text })
const objectList = z.object({
  data: z.array(z.object({ id: text, name: text, updated_at: time })),
  list_metadata: listMetadata,
})
const versionList = z.object({
  data: z.array(
    z.object({ id: text, created_at: time, current_version: z.boolean(), etag: text, size: z.int() }),
  ),
  list_metadata: listMetadata,
})
const deleted = z.object({ success: z.boolean(), name: text })
const openedKey = z.object({ id: text, data_key: text })
const dataKey = openedKey.extend({ encrypted_keys: text, context: keyContext })
const portalLink = z.object({ link: text, expires_at: time })
const eventList = z.object({
  object: z.literal("list"),
  data: z.array(
    z.object({
      object: z.literal("event"),
      id: text,
      event: text,
      created_at: time,
      data: z.record(text, z.unknown()),
      context: z.object({ actor: z.object({ id: text, name: text, source: text }) }),
    }),
  ),
  list_metadata: listMetadata,
})
const WHY: Readonly<Record<number, string>> = {
  400: "What was sent is not valid",
  401: "There is no good API key",
  403: "The API key may not do this, or a KEK is shut by its owner",
  404: "There is no such object",
  409: "The name is taken, or another version is current",
  422: "What was sent is not valid",
  429: "Too often: wait for Retry-After",
  500: "The server could not do this",
  503: "A KMS cannot be reached: wait for Retry-After",
}
