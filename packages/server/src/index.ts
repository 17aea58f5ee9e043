export {
  ACTIONS,
  type Action,
  type ApiKey,
  type ApiKeyScope,
  createApiKey,
  listApiKeys,
  storeApiKey,
} from "./api-key.ts"
export { type AnsweredRequest, createApp, type Env, type ServerOptions } from "./app.ts"
export { type Listening, type ListenOptions, listen } from "./listen.ts"
export { createMetrics, type Metrics } from "./metrics.ts"
export { startUpkeep, type UpkeepOptions } from "./upkeep.ts"
