import type { KeyfoldEvent } from "@keyfold/core"
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "prom-client"
import type { AnsweredRequest } from "./app.ts"
import type { Webhook } from "./webhook.ts"

/** What a server counts, in Prometheus' text format. No label holds a name, a context or a key id. */
export interface Metrics {
  readonly contentType: string
  text(): Promise<string>
  onRequest(request: AnsweredRequest): void
  /** The state of each webhook there is. */
  onWebhooks(states: readonly Webhook["state"][]): void
  onWebhookTry(outcome: "delivered" | "failed"): void
  /** Give it to `createKeyfold` as `onEvent`. */
  readonly onKeyfoldEvent: (event: KeyfoldEvent) => void
}

/** Metrics of one server: requests by route and status, operations and KEK calls by outcome, their durations, webhooks, and the process. */
export function createMetrics(): Metrics {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  const requests = new Histogram({
    name: "keyfold_http_request_duration_seconds",
    help: "Requests by route and status",
    labelNames: ["method", "route", "status"],
    buckets: SECONDS,
    registers,
  })
  const operations = new Counter({
    name: "keyfold_operations_total",
    help: "Operations of the engine by outcome",
    labelNames: ["operation", "code"],
    registers,
  })
  const kekCalls = new Histogram({
    name: "keyfold_kek_call_duration_seconds",
    help: "Calls of KEKs by provider and outcome",
    labelNames: ["provider", "action", "code"],
    buckets: SECONDS,
    registers,
  })
  const webhooks = new Gauge({
    name: "keyfold_webhooks",
    help: "Webhooks by state",
    labelNames: ["state"],
    registers,
  })
  const webhookTries = new Counter({
    name: "keyfold_webhook_tries_total",
    help: "Events sent to webhooks by outcome",
    labelNames: ["outcome"],
    registers,
  })
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    onRequest: ({ method, route, status, durationMs }) =>
      requests.observe({ method, route, status }, durationMs / 1000),
    onWebhooks(states) {
      for (const state of WEBHOOK_STATES)
        webhooks.set({ state }, states.filter((each) => each === state).length)
    },
    onWebhookTry: (outcome) => webhookTries.inc({ outcome }),
    onKeyfoldEvent: (event) => {
      const code = event.code ?? "OK"
      if (event.type === "operation") operations.inc({ operation: event.operation, code })
      else
        kekCalls.observe({ provider: event.providerId, action: event.action, code }, event.durationMs / 1000)
    },
  }
}

const WEBHOOK_STATES: readonly Webhook["state"][] = ["delivering", "retrying", "failing"]
/** From a managed KEK to a slow KMS. */
const SECONDS = [0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 10]
