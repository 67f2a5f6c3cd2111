import { expect, it } from 'vitest'
import { metricSubjects } from '../../src/telemetry/metrics/catalogue.ts'
import { destinationMetric, destinationMetricName } from '../../src/telemetry/metrics/definition.ts'
import { startDaemon } from '../support/daemon.ts'
import { failedTimes, insertDestination, settled } from '../support/destinations.ts'
import { metricsUrl, scrape, scrapedWhen } from '../support/metrics.ts'
import { promtool, promtoolIsMissing } from '../support/promtool.ts'
import { insertRange, replayed } from '../support/replays.ts'
import { createScene } from '../support/scene.ts'

const quick = { SPILLWAY_INTER_BATCH_DELAY_MS: '0', SPILLWAY_BACKOFF_SCHEDULE_MS: '200' }
/** What no answer may hold. */
const canaries = ['acme', 'globex', 'siem of', 's3cret', '127.0.0.1', 'no such luck']

it('counts what is delivered, refused, skipped and replayed, to the event, with the log at its quietest', async () => {
  const { url, sql, receiver, write } = await createScene()
  const poison = /"request:(5|500|999)"/
  receiver.always({
    choose: ({ path, body }) => {
      const status = path === '/down' ? 503 : poison.test(body.toString()) ? 422 : 200
      return { status, body: 'no such luck: s3cret-answer' }
    },
  })
  const daemon = await startDaemon(url, { ...quick, LOG_LEVEL: 'info', SPILLWAY_API_TOKEN: 's3cret-token' })
  const well = await insertDestination(sql, {
    url: '',
    org: 'acme',
    name: 'siem of acme',
    config: { url: `${receiver.url}/up`, auth: { type: 'bearer', token: 's3cret-bearer' } },
  })
  await write(1_000)
  await settled(sql, well, 'acme')
  // It fails for a second and a half, and most of its failures are not in the log.
  const down = await insertDestination(sql, {
    url: `${receiver.url}/down`,
    org: 'globex',
    name: 'siem of globex',
    delivery: { maxBacklogAgeMs: 1_500 },
  })
  await write(7, 'globex')
  await failedTimes(sql, down, 2)
  const behind = await scrape(daemon)
  expect(behind.value('spillway_destinations', { status: 'active' })).toBe(1)
  expect(behind.value('spillway_destinations', { status: 'backing_off' })).toBe(1)
  await daemon.logged('backlog.abandoned')
  await sql`DELETE FROM spillway.destinations WHERE id = ${down}`
  await daemon.logged('destination.removed')
  await replayed(sql, await insertRange(sql, well, 0, 4))
  await sql`UPDATE spillway.destinations SET name = 'siem of nobody', type = 'unknown' WHERE id = ${well}`
  await daemon.logged('destination.invalid')

  const seen = await scrape(daemon)
  expect(seen.value('spillway_events_delivered_total')).toBe(997)
  expect(seen.value('spillway_events_dead_lettered_total', { reason: 'http_status' })).toBe(3)
  expect(seen.value('spillway_events_dead_lettered_total', { reason: 'timeout' })).toBe(0)
  expect(seen.value('spillway_events_skipped_total', { reason: 'backlog_expired' })).toBe(7)
  expect(seen.value('spillway_backlogs_abandoned_total')).toBe(1)
  expect(seen.value('spillway_replay_events_delivered_total')).toBe(4)
  expect(seen.value('spillway_replays_ended_total', { result: 'done' })).toBe(1)
  const failures =
    seen.value('spillway_attempts_failed_total', { outcome: 'retry', reason: 'http_status' }) ?? 0
  expect(failures).toBeGreaterThanOrEqual(3)
  expect(seen.value('spillway_backoffs_total')).toBe(failures)
  expect(daemon.lines.filter(({ event }) => event === 'destination.failed').length).toBeLessThan(failures)
  expect(seen.value('spillway_batch_events_sum')).toBe(997)
  expect(seen.value('spillway_batch_events_count')).toBe(seen.value('spillway_batches_delivered_total'))
  expect(seen.value('spillway_lease_moves_total', { move: 'acquired' })).toBe(1)
  expect(seen.value('spillway_destinations', { status: 'invalid' })).toBe(1)
  expect(seen.value('spillway_source_readable', { log_type: 'request' })).toBe(1)
  expect(seen.value('spillway_horizon_stalled_seconds', { log_type: 'request' })).toBe(0)
  const lookedAt = seen.value('spillway_source_last_look_timestamp_seconds', { log_type: 'request' }) ?? 0
  expect(Math.abs(Date.now() / 1_000 - lookedAt)).toBeLessThan(30)
  expect(seen.value('spillway_ready')).toBe(1)
  expect(seen.value('spillway_database_up', { database: 'state' })).toBe(1)
  expect(seen.value('spillway_pool_max_connections', { database: 'state' })).toBe(8)
  expect(seen.value('spillway_http_requests_in_flight')).toBe(0)
  const requests = seen.samples.filter(({ name }) => name === 'spillway_http_request_duration_seconds_count')
  expect(requests.reduce((sum, { value }) => sum + value, 0)).toBe(receiver.requests.length)
  expect(seen.value('spillway_log_events_total', { event: 'batch.delivered', level: 'debug' })).toBe(
    seen.value('spillway_batches_delivered_total'),
  )
  expect(seen.samples.filter(({ name }) => name === 'spillway_metric_errors_total')).toEqual([])
  expect(seen.text).not.toContain('destination_id')

  // Every family of the catalogue is there, and nothing else.
  const catalogued = metricSubjects.flatMap(({ metrics }) => Object.keys(metrics))
  expect([...seen.families].sort()).toEqual([...catalogued].sort())
  for (const canary of canaries) expect(`${behind.text}${seen.text}`).not.toContain(canary)
  if (!promtoolIsMissing) {
    expect(promtool(['check', 'metrics'], seen.text)).toEqual({ status: 0, output: '' })
  }

  const head = await fetch(await metricsUrl(daemon), { method: 'HEAD' })
  expect(head.status).toBe(200)
  expect(head.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(await head.text()).toBe('')
  expect((await fetch(await metricsUrl(daemon), { method: 'POST' })).status).toBe(405)
  expect(await daemon.stop()).toBe(0)
})

it('tells the figures of each destination where that is asked for, as long as it is there', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({
    choose: ({ path, body }) => ({
      status: path === '/down' ? 503 : body.includes('"request:2"') ? 400 : 200,
    }),
  })
  const daemon = await startDaemon(url, { ...quick, SPILLWAY_METRICS_PER_DESTINATION: 'true' })
  const well = await insertDestination(sql, { url: `${receiver.url}/up`, org: 'acme' })
  const down = await insertDestination(sql, { url: `${receiver.url}/down`, org: 'globex' })
  const of = (id: number) => ({ destination_id: String(id) })
  await daemon.logged('destination.added', ({ destination_id }) => destination_id === down)
  const first = await scrape(daemon)
  expect(first.value('spillway_destination_events_delivered_total', of(down))).toBe(0)
  await write(5)
  await write(7, 'globex')
  await settled(sql, well, 'acme')
  await failedTimes(sql, down, 2)
  const seen = await scrapedWhen(
    daemon,
    ({ value }) => (value('spillway_destination_lag_events', of(down)) ?? 0) > 0,
  )
  expect(seen.value('spillway_destination_events_delivered_total', of(well))).toBe(4)
  expect(seen.value('spillway_destination_events_dead_lettered_total', of(well))).toBe(1)
  expect(seen.value('spillway_destination_attempts_failed_total', of(well))).toBe(0)
  expect(seen.value('spillway_destination_events_delivered_total', of(down))).toBe(0)
  expect(seen.value('spillway_destination_attempts_failed_total', of(down))).toBeGreaterThanOrEqual(2)
  expect(seen.value('spillway_destination_lag_events', of(down))).toBe(7)
  expect(seen.value('spillway_destination_lag_seconds', of(down))).toBeGreaterThan(0)
  expect(seen.value('spillway_events_delivered_total')).toBe(4)
  expect(seen.value('spillway_lag_events')).toBe(7)
  expect(seen.value('spillway_max_lag_events')).toBe(7)
  expect(seen.value('spillway_max_lag_seconds')).toBe(
    seen.value('spillway_destination_lag_seconds', of(down)),
  )
  const own = metricSubjects.flatMap(({ metrics }) =>
    Object.entries(metrics).flatMap(([name, definition]) =>
      destinationMetric(definition) ? destinationMetricName(name) : [],
    ),
  )
  expect(own.filter((name) => !seen.families.includes(name))).toEqual([])
  for (const canary of canaries) expect(seen.text).not.toContain(canary)
  if (!promtoolIsMissing) {
    expect(promtool(['check', 'metrics'], seen.text)).toEqual({ status: 0, output: '' })
  }

  await sql`DELETE FROM spillway.destinations WHERE id = ${down}`
  await daemon.logged('destination.removed')
  const after = await scrape(daemon)
  expect(after.text).not.toContain(`destination_id="${down}"`)
  expect(after.value('spillway_destination_events_delivered_total', of(well))).toBe(4)
  expect(await daemon.stop()).toBe(0)
})
