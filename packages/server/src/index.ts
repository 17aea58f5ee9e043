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
export type {
  KeyUsage,
  KeyUse,
  PortalBindings,
  PortalCloud,
  PortalOptions,
  ProviderId,
} from "./portal/clouds.ts"
export {
  createOperatorLink,
  createPortalLink,
  type PortalLink,
  type PortalLinkOptions,
} from "./portal/link.ts"
export { countKeyUsage } from "./portal/usage.ts"
export { startUpkeep, type UpkeepOptions } from "./upkeep.ts"
export {
  createWebhook,
  listWebhooks,
  resumeWebhook,
  type Webhook,
  type WebhookOptions,
} from "./webhook.ts"
