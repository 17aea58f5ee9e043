import type { KeyfoldEvent } from "@keyfold/core"
import { Counter, collectDefaultMetrics, Histogram, Registry } from "prom-client"
import type { AnsweredRequest } from "./app.ts"

/** What a server counts, in Prometheus' text format. No label holds a name, a context or a key id. */
export interface Metrics {
  readonly contentType: string
  text(): Promise<string>
  onRequest(request: AnsweredRequest): void
  /** Give it to `createKeyfold` as `onEvent`. */
  readonly onKeyfoldEvent: (event: KeyfoldEvent) => void
}

/** Metrics of one server: requests by route and status, operations and KEK calls by outcome, their durations, and the process. */
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
  return {
    contentType: registry.contentType,
    text: () => registry.metrics(),
    onRequest: ({ method, route, status, durationMs }) =>
      requests.observe({ method, route, status }, durationMs / 1000),
    onKeyfoldEvent: (event) => {
      const code = event.code ?? "OK"
      if (event.type === "operation") operations.inc({ operation: event.operation, code })
      else
        kekCalls.observe({ provider: event.providerId, action: event.action, code }, event.durationMs / 1000)
    },
  }
}

/** From a managed KEK to a slow KMS. */
const SECONDS = [0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 2, 10]
