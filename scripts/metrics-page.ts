/** docs/METRICS.md, from the catalogue of metrics and the events that move them. */
import { fileURLToPath } from 'node:url'
import type { EventDefinition } from '../src/telemetry/events/field.ts'
import { events } from '../src/telemetry/events.ts'
import { metricSubjects } from '../src/telemetry/metrics/catalogue.ts'
import {
  destinationMetric,
  destinationMetricName,
  type LabelDefinition,
  type MetricDefinition,
  otherValue,
} from '../src/telemetry/metrics/definition.ts'

export const metricsPage = fileURLToPath(new URL('../docs/METRICS.md', import.meta.url))

const introduction = `<!-- Made by \`npm run docs\` from src/telemetry. Do not edit. -->
# Metrics

\`GET /metrics\` answers in the text format of Prometheus, on the address of \`SPILLWAY_HTTP_HOST\` and
\`SPILLWAY_HTTP_PORT\`. It needs no token: nothing in it tells whose events they are. By default that address is
127.0.0.1; for a scraper elsewhere set \`SPILLWAY_HTTP_HOST=0.0.0.0\` and let a network policy say who may call.

\`\`\`yaml
scrape_configs:
  - job_name: spillway
    scrape_interval: 15s
    static_configs:
      - targets: ['spillway:8787']
rule_files: [alerts.yml]
\`\`\`

- [prometheus/alerts.yml](prometheus/alerts.yml): alert rules. Each names its section of the
  [runbook](RUNBOOK.md). They expect the job's name to hold \`spillway\`.
- [grafana/spillway.json](grafana/spillway.json): a dashboard; in Grafana *Dashboards → New → Import*.

What to know when you read them:

- **Counters follow the log.** Most are moved by an event of [LOGS.md](LOGS.md), also when \`LOG_LEVEL\` or a
  repetition keeps its line back: \`destination.failed\` is logged at most every 30 s and counted each time.
- **Counters begin at 0 with each start** and hold what this process has seen. The ledger that survives is in
  PostgreSQL: \`delivery_state\`, \`skipped_ranges\`, \`dead_letters\`. A crash between the receiver's answer and the
  writing of the cursor has a batch sent again, and so counted again.
- **Ranges that an edit records** (\`source_repointed\`, \`source_deleted\`, \`log_type_removed\`) are written by the
  database itself and move no counter; they are in \`skipped_ranges\`.
- **With several replicas**, sum counters and \`spillway_lag_events\`, and take the maximum of lags and ages. A
  replica tells of its own destinations, and of every source.
- **Labels are bounded.** None holds an org, a name, an address or a message. What a list of values below does not
  name counts as \`${otherValue}\`.
- **Series for each destination** come with \`SPILLWAY_METRICS_PER_DESTINATION=true\`: some six a destination. They go
  with their destination. With 5,000 of them an answer has 2 MB and takes the process a tenth of a second. For names
  and orgs look into \`spillway.destinations\`.
- **Lag** is worked out every 10 s, and is what \`delivery_state\` shows.
`

export function renderMetrics(): string {
  const subjects = metricSubjects.map(({ title, metrics }) => {
    const rows = Object.entries(metrics).map(([name, definition]) => row(name, definition))
    return `## ${title}\n\n| metric | type | unit | what it is | what to do with it |\n|---|---|---|---|---|\n${rows.join('\n')}\n`
  })
  const own = metricSubjects.flatMap(({ metrics }) =>
    Object.entries(metrics).flatMap(([name, definition]) => {
      const derived = destinationMetric(definition)
      return derived ? row(destinationMetricName(name), derived) : []
    }),
  )
  const perDestination = `## For each destination\n\nOnly with \`SPILLWAY_METRICS_PER_DESTINATION=true\`.\n\n| metric | type | unit | what it is | what to do with it |\n|---|---|---|---|---|\n${own.join('\n')}\n`
  return `${introduction}\n${subjects.join('\n')}\n${perDestination}`
}

function row(name: string, definition: MetricDefinition): string {
  const { type, unit, help, use, labels = {} } = definition
  const parts = [help, ...Object.entries(labels).map(labelled), ...movers(name)]
  return `| \`${name}\` | ${type} | ${unit} | ${cell(parts.join(' '))} | ${cell(use)} |`
}

function labelled([name, { description, values }]: [string, LabelDefinition]): string {
  const which = typeof values === 'string' ? '' : `: ${values.map((value) => `\`${value}\``).join(', ')}`
  return `Label \`${name}\`: ${description}${which}.`
}

/** The events that move it. */
function movers(name: string): string[] {
  const codes = Object.entries<EventDefinition>(events).flatMap(([code, { metrics = [] }]) =>
    metrics.some((metric) => metric.name === name)
      ? [`[\`${code}\`](LOGS.md#${code.replace(/[^a-z0-9_-]/g, '')})`]
      : [],
  )
  return codes.length === 0 ? [] : [`Moved by ${codes.join(', ')}.`]
}

const cell = (text: string): string => text.replaceAll('|', '\\|')
