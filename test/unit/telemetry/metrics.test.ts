import { readFile } from 'node:fs/promises'
import { afterEach, describe, expect, test } from 'vitest'
import { metricsPage, renderMetrics } from '../../../scripts/metrics-page.ts'
import type { EventDefinition } from '../../../src/telemetry/events/field.ts'
import { events } from '../../../src/telemetry/events.ts'
import { createLog } from '../../../src/telemetry/log.ts'
import { metricSubjects } from '../../../src/telemetry/metrics/catalogue.ts'
import { destinationMetric, type MetricDefinition } from '../../../src/telemetry/metrics/definition.ts'
import { movedByEvents } from '../../../src/telemetry/metrics/moved-by-events.ts'
import { Metrics } from '../../../src/telemetry/metrics.ts'
import { readScrape } from '../../support/metrics.ts'

const all: [string, MetricDefinition][] = metricSubjects.flatMap(({ metrics }) => Object.entries(metrics))
const moving = Object.entries<EventDefinition>(events).flatMap(([code, definition]) =>
  (definition.metrics ?? []).map((metric) => ({ code, definition, metric })),
)

const opened: Metrics[] = []
function measuring({ perDestination = false, version = '1.2.3' } = {}) {
  const metrics = new Metrics({ version, perDestination })
  opened.push(metrics)
  const lines: string[] = []
  const log = createLog({ level: 'warn', stream: { write: (line) => lines.push(line) }, metrics })
  return { metrics, log, lines, scrape: async () => readScrape(await metrics.render()) }
}
afterEach(() => {
  for (const metrics of opened.splice(0)) metrics.close()
})

const who = { destination_id: 12, name: 'siem', type: 'http', org: 'acme' }
const delivered = {
  ...who,
  log_type: 'request',
  batch_id: 'b',
  events: 250,
  bytes: 5_000,
  from: '1',
  to: '250',
  duration_ms: 1_500,
}
const failed = {
  ...who,
  log_type: 'request',
  batch_id: 'b',
  outcome: 'retry',
  reason: 'timeout',
  message: 'No answer.',
  consecutive_failures: 1,
  suppressed: 0,
} as const

describe.each(all)('the metric %s', (name, definition) => {
  test('has a name in the form of its type, and belongs to one subject', () => {
    expect(name).toMatch(/^(spillway|process|nodejs)(_[a-z0-9]+)+$/)
    expect(name.endsWith('_total')).toBe(definition.type === 'counter')
    if (definition.unit === 'seconds' || definition.unit === 'bytes') {
      expect(name.replace(/_total$/, '')).toMatch(new RegExp(`_${definition.unit}$`))
    }
    expect(all.filter(([other]) => other === name)).toHaveLength(1)
  })

  test('is documented, and its labels are bounded', () => {
    for (const words of [definition.help, definition.use]) expect(words).toMatch(/^\S.*\.$/)
    expect(definition.unit).not.toBe('')
    for (const [label, { values }] of Object.entries(definition.labels ?? {})) {
      expect(['org', 'name', 'url', 'message', 'destination_id']).not.toContain(label)
      if (typeof values !== 'string') expect(values.length).toBeGreaterThan(1)
    }
  })
})

test('docs/METRICS.md is what the catalogue says', async () => {
  expect(await readFile(metricsPage, 'utf8')).toBe(renderMetrics())
})

describe('an event that moves a metric', () => {
  test.each(moving)('says by which of its own fields: $code, $metric.name', ({ definition, metric }) => {
    const target: MetricDefinition = movedByEvents[metric.name]
    if (metric.by !== undefined) expect(definition.fields).toHaveProperty(metric.by)
    expect(Object.keys(metric.labels ?? {})).toEqual(Object.keys(target.labels ?? {}))
    for (const [label, from] of Object.entries(metric.labels ?? {})) {
      const listed = target.labels?.[label]?.values
      const described = 'field' in from ? definition.fields[from.field]?.description : `: \`${from.value}\``
      const values = [...(described?.split(': ')[1] ?? '').matchAll(/`(\w+)`/g)].map(([, value]) => value)
      expect(values.length).toBeGreaterThan(0)
      expect(listed).toEqual(expect.arrayContaining(values))
    }
    if (destinationMetric(target)) expect(definition.fields).toHaveProperty('destination_id')
  })

  test('is there for every metric that events move, and for every move of a lease', () => {
    const moved = new Set<string>(moving.map(({ metric }) => metric.name))
    expect(Object.keys(movedByEvents).filter((name) => !moved.has(name))).toEqual([])
    for (const code of Object.keys(events).filter((each) => each.startsWith('lease.'))) {
      const moves = moving.filter((each) => each.code === code).map(({ metric }) => metric)
      expect(moves).toContainEqual({
        name: 'spillway_lease_moves_total',
        labels: { move: { value: code.replace('lease.', '') } },
      })
    }
  })
})

describe('metrics', () => {
  test('count what the level of the log and a repetition keep back', async () => {
    const { log, lines, scrape } = measuring()
    log.emit('batch.delivered', delivered)
    log.child({ shard: 3 }).emit('batch.delivered', delivered)
    log.emit('destination.failed', failed)
    log.count('destination.failed', failed)
    expect(lines).toHaveLength(1)
    const { value } = await scrape()
    expect(value('spillway_events_delivered_total')).toBe(500)
    expect(value('spillway_batches_delivered_total')).toBe(2)
    expect(value('spillway_batch_bytes_sum')).toBe(10_000)
    expect(value('spillway_batch_duration_seconds_sum')).toBe(3)
    expect(value('spillway_attempts_failed_total', { outcome: 'retry', reason: 'timeout' })).toBe(2)
    expect(value('spillway_log_events_total', { event: 'destination.failed', level: 'warn' })).toBe(2)
    expect(value('spillway_log_events_total', { event: 'batch.delivered', level: 'debug' })).toBe(2)
  })

  test('put a value that the catalogue does not list under `other`', async () => {
    const { metrics, scrape } = measuring()
    metrics.count('destination.failed', { ...failed, reason: 'https://hooks.example/s3cret' })
    metrics.beginRequest()('9xx')
    const { value, text } = await scrape()
    expect(value('spillway_attempts_failed_total', { outcome: 'retry', reason: 'other' })).toBe(1)
    expect(value('spillway_http_request_duration_seconds_count', { result: 'other' })).toBe(1)
    expect(text).not.toContain('s3cret')
  })

  test('are not thrown off by odd fields', async () => {
    const { metrics, scrape } = measuring({ perDestination: true })
    for (const events of [Number.NaN, -5, undefined, null, 'many', Number.POSITIVE_INFINITY, {}]) {
      metrics.count('batch.delivered', { ...delivered, events })
    }
    metrics.count('batch.delivered', {})
    metrics.count('no.such_event' as 'batch.delivered', {})
    const { value } = await scrape()
    expect(value('spillway_events_delivered_total')).toBe(0)
    expect(value('spillway_batches_delivered_total')).toBe(8)
  })

  test('answer with all others when one of them cannot be read, and count that', async () => {
    const { metrics, scrape } = measuring()
    metrics.provide({
      spillway_shards_held: () => {
        throw new Error('s3cret')
      },
      spillway_shards: () => 64,
      spillway_lag_events: () => Number.NaN,
    })
    await scrape()
    const { value, text } = await scrape()
    expect(value('spillway_shards')).toBe(64)
    expect(value('spillway_shards_held')).toBeUndefined()
    expect(value('spillway_lag_events')).toBeUndefined()
    expect(value('spillway_metric_errors_total', { metric: 'spillway_shards_held' })).toBeGreaterThanOrEqual(
      1,
    )
    expect(text).not.toContain('s3cret')
  })

  test('have no value of what nobody provides any more', async () => {
    const { metrics, scrape } = measuring()
    const of = (database: string) => [{ labels: { database }, value: 1 }]
    const withdraw = metrics.provide({
      spillway_shards_held: () => 5,
      spillway_database_up: () => of('source'),
    })
    metrics.provide({ spillway_database_up: () => of('state') })
    const before = await scrape()
    expect(before.value('spillway_shards_held')).toBe(5)
    expect(before.value('spillway_database_up', { database: 'source' })).toBe(1)
    withdraw()
    const { value } = await scrape()
    expect(value('spillway_shards_held')).toBeUndefined()
    expect(value('spillway_database_up', { database: 'source' })).toBeUndefined()
    expect(value('spillway_database_up', { database: 'state' })).toBe(1)
  })

  test('begin at 0 where it is known what there will be', async () => {
    const { scrape } = measuring()
    const { value } = await scrape()
    expect(value('spillway_events_dead_lettered_total', { reason: 'http_status' })).toBe(0)
    expect(value('spillway_lease_moves_total', { move: 'lost' })).toBe(0)
    expect(value('spillway_log_events_total', { event: 'backlog.expiring', level: 'warn' })).toBe(0)
  })

  test('of two daemons in one process are apart', async () => {
    const [one, other] = [measuring(), measuring()]
    one.log.emit('batch.delivered', delivered)
    expect((await one.scrape()).value('spillway_events_delivered_total')).toBe(250)
    expect((await other.scrape()).value('spillway_events_delivered_total')).toBe(0)
  })

  test('of each destination go with it, also those that came late', async () => {
    const { metrics, log, scrape } = measuring({ perDestination: true })
    let ids = [12, 13]
    const withdraw = metrics.provideDestinations(() =>
      ids.map((id) => ({ id, lagEvents: id, lagSeconds: null })),
    )
    log.emit('batch.delivered', delivered)
    const name = 'spillway_destination_events_delivered_total'
    const both = await scrape()
    expect(both.value(name, { destination_id: '12' })).toBe(250)
    expect(both.value(name, { destination_id: '13' })).toBe(0)
    expect(both.value('spillway_destination_lag_events', { destination_id: '13' })).toBe(13)
    expect(both.value('spillway_destination_lag_seconds', { destination_id: '13' })).toBeUndefined()
    ids = [13]
    await scrape()
    // A replay may end after its destination.
    log.emit('batch.delivered', delivered)
    expect((await scrape()).text).not.toContain('destination_id="12"')
    withdraw()
    expect((await scrape()).text).not.toContain('destination_id=')
  })
})
