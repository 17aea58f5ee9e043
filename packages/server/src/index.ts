export { type ApiKey, createApiKey } from "./api-key.ts"
export { createApp, type ServerOptions } from "./app.ts"
export { type Listening, listen } from "./listen.ts"
