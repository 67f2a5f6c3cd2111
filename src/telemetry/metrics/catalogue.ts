/** All metrics, in the order of docs/METRICS.md. */
import type { MetricDefinition } from './definition.ts'
import {
  clusterMetrics,
  deliveryMetrics,
  failureMetrics,
  lossMetrics,
  replayMetrics,
} from './moved-by-events.ts'
import { processMetrics } from './process.ts'
import { daemonGauges, destinationGauges, egressGauges, sourceGauges } from './read-at-scrape.ts'

export const requestMetrics = {
  spillway_http_request_duration_seconds: {
    type: 'histogram',
    help: 'Time that an HTTP request took until the last byte of its answer; every try counts.',
    unit: 'seconds',
    use: 'By `result`: how receivers answer, and how fast.',
    labels: {
      result: {
        description: 'Class of the status; `error`: no answer; `aborted`: broken off by the daemon',
        values: ['1xx', '2xx', '3xx', '4xx', '5xx', 'error', 'aborted'],
      },
    },
    buckets: [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
} as const satisfies Record<string, MetricDefinition>

export const ownMetrics = {
  spillway_log_events_total: {
    type: 'counter',
    help: 'Events of the log, also those whose line the level or a repetition kept back.',
    unit: 'events',
    use: 'For alerts on any code of LOGS.md that has no metric of its own.',
    labels: {
      event: { description: 'Code of the event', values: 'log events' },
      level: { description: 'Its level', values: ['debug', 'info', 'warn', 'error', 'fatal'] },
    },
  },
  spillway_metric_errors_total: {
    type: 'counter',
    help: 'Metrics that could not be read; the others were answered.',
    unit: 'errors',
    use: 'A bug: please report it with the name of the metric.',
    labels: { metric: { description: 'Name of the metric', values: 'metrics' } },
  },
} as const satisfies Record<string, MetricDefinition>

export const metricSubjects: readonly {
  readonly title: string
  readonly metrics: Readonly<Record<string, MetricDefinition>>
}[] = [
  { title: 'Delivery', metrics: deliveryMetrics },
  { title: 'Lag and destinations', metrics: destinationGauges },
  { title: 'Failures', metrics: failureMetrics },
  { title: 'What was not delivered', metrics: lossMetrics },
  { title: 'Replays', metrics: replayMetrics },
  { title: 'Sources', metrics: sourceGauges },
  { title: 'Requests and lanes', metrics: { ...requestMetrics, ...egressGauges } },
  { title: 'Daemon, database and replicas', metrics: { ...daemonGauges, ...clusterMetrics } },
  { title: 'Process', metrics: processMetrics },
  { title: 'Log and metrics themselves', metrics: ownMetrics },
]
