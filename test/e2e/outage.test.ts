import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled, stateOf } from '../support/destinations.ts'
import { createScene } from '../support/scene.ts'

const quick = { SPILLWAY_INTER_BATCH_DELAY_MS: '0' }

it('backs off as scheduled, keeps the back-off over a restart, and drains in order when the endpoint is back', async () => {
  const { url, sql, receiver, write } = await createScene()
  const env = { ...quick, SPILLWAY_BACKOFF_SCHEDULE_MS: '1000,3000,600000' }
  receiver.always({ status: 503 })
  const id = await insertDestination(sql, { url: receiver.url })
  const daemon = await startDaemon(url, env)
  await write(30)

  const first = await daemon.logged('destination.backing_off')
  expect(first).toMatchObject({ consecutive_failures: 1 })
  expect(first.delay_ms).toBeGreaterThanOrEqual(1_000)
  expect(first.delay_ms).toBeLessThanOrEqual(1_100)
  // The first failure had its quick retries; a failing destination has none.
  const failedTwice = await receiver.received(4)
  expect(new Set(failedTwice.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
  await receiver.received(5)
  await daemon.stop()

  const before = await stateOf(sql, id)
  expect(before).toMatchObject({ status: 'backing_off', consecutive_failures: 3 })
  expect(before.last_error).toContain('503')
  const attempts = receiver.requests.length
  const again = await startDaemon(url, env)
  await write(70)
  await again.logged('source.started', ({ log_type }) => log_type === 'request')
  await sql`SELECT pg_sleep(0.5)`
  expect(await stateOf(sql, id)).toEqual(before)
  expect(receiver.requests.length).toBe(attempts)

  receiver.always({ status: 200 })
  // An edit ends the back-off at once.
  await sql`UPDATE spillway.destinations SET name = 'mended' WHERE id = ${id}`
  await settled(sql, id, null)
  const recovered = await again.logged('destination.recovered')
  expect(Number(recovered.failing_for_ms)).toBeGreaterThan(4_000)
  await again.stop()
  expect(await stateOf(sql, id)).toMatchObject({
    status: 'active',
    consecutive_failures: 0,
    first_failed_at: null,
  })
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
})

it('skips a backlog past its age with exact counts and one warning, and goes on from the horizon', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({ status: 500 })
  const id = await insertDestination(sql, { url: receiver.url, org: 'acme', logTypes: ['request', 'action'] })
  const daemon = await startDaemon(url, {
    ...quick,
    SPILLWAY_BACKOFF_SCHEDULE_MS: '300',
    SPILLWAY_MAX_BACKLOG_AGE_MS: '2500',
  })
  await write(120)
  await write(40, 'other')
  await sql`INSERT INTO spillway.action_audit_log (org_id) SELECT 'acme' FROM generate_series(1, 7)`

  const warning = await daemon.logged('backlog.abandoned')
  expect(warning).toMatchObject({ level: 'warn', event_count: 127, reason: 'backlog_expired' })
  const ranges = await sql`
    SELECT log_type, from_position, to_position, event_count, reason FROM spillway.skipped_ranges
    WHERE destination_id = ${id} ORDER BY log_type`
  expect(ranges).toMatchObject([
    { log_type: 'action', from_position: '0', to_position: '7', event_count: '7', reason: 'backlog_expired' },
    {
      log_type: 'request',
      from_position: '0',
      to_position: '160',
      event_count: '120',
      reason: 'backlog_expired',
    },
  ])

  receiver.always({ status: 200 })
  const refused = receiver.requests.length
  await write(5)
  await settled(sql, id, 'acme')
  await daemon.stop()
  const delivered = receiver.requests.slice(refused)
  const ids = delivered.flatMap(({ body }) =>
    JSON.parse(body.toString()).map((event: { id: string }) => event.id),
  )
  expect([...new Set(ids)]).toEqual([161, 162, 163, 164, 165].map((row) => `request:${row}`))
  expect(daemon.lines.filter(({ event }) => event === 'backlog.abandoned')).toHaveLength(1)
})

it('does not count as skipped what was accepted beyond the batch that failed', async () => {
  const { url, sql, receiver, write } = await createScene()
  const taken: string[] = []
  receiver.always({
    choose: ({ body }) => {
      const ids = JSON.parse(body.toString()).map((event: { id: string }) => event.id)
      // The first batch and the fourth never go well.
      if (ids.includes('request:1') || ids.includes('request:31')) return { status: 500 }
      taken.push(...ids)
      return { status: 200 }
    },
  })
  const id = await insertDestination(sql, {
    url: receiver.url,
    delivery: { batchSize: 10, maxInFlight: 8, maxBacklogAgeMs: 1_500 },
  })
  await write(60)
  const daemon = await startDaemon(url, { ...quick, SPILLWAY_BACKOFF_SCHEDULE_MS: '300' })
  expect(await daemon.logged('backlog.abandoned')).toMatchObject({ event_count: 20 })
  await settled(sql, id, null)
  await daemon.stop()
  expect(taken).toHaveLength(40)
  const ranges =
    await sql`SELECT from_position, to_position, event_count FROM spillway.skipped_ranges ORDER BY id`
  expect(ranges).toEqual([
    { from_position: '0', to_position: '10', event_count: '10' },
    { from_position: '30', to_position: '40', event_count: '10' },
  ])
})

it('keeps the backlog of a destination that is told to hold it', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({ status: 500 })
  const id = await insertDestination(sql, {
    url: receiver.url,
    delivery: { maxBacklogAgeMs: 1_500, onBacklogExpiry: 'hold' },
  })
  const daemon = await startDaemon(url, { ...quick, SPILLWAY_BACKOFF_SCHEDULE_MS: '300' })
  await write(12)
  await daemon.logged('backlog.held')
  await receiver.received(receiver.requests.length + 3)
  receiver.always({ status: 200 })
  await settled(sql, id, null)
  await daemon.stop()
  expect(await sql`SELECT * FROM spillway.skipped_ranges`).toHaveLength(0)
  expect(daemon.lines.filter(({ event }) => event === 'backlog.held')).toHaveLength(1)
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
})

it('disables a destination that answers 410, with the reason', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({ status: 410 })
  const id = await insertDestination(sql, { url: receiver.url })
  const daemon = await startDaemon(url, quick)
  await write(3)
  await daemon.logged('destination.gone')
  await daemon.logged('destination.disabled')
  expect(await stateOf(sql, id)).toMatchObject({
    status: 'disabled',
    last_error: expect.stringContaining('410'),
  })
  receiver.always({ status: 200 })
  await sql`UPDATE spillway.destinations SET enabled = true WHERE id = ${id}`
  await settled(sql, id, null)
  await daemon.stop()
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
})

it('skips the backlog of a destination that was disabled for longer than its maximum age', async () => {
  const { url, sql, receiver, write } = await createScene()
  const id = await insertDestination(sql, { url: receiver.url })
  await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${id}`
  await sql`UPDATE spillway.delivery_state SET disabled_at = now() - interval '25 hours'`
  const daemon = await startDaemon(url, quick)
  await write(9)
  await sql`SELECT pg_sleep(0.5)`
  await sql`UPDATE spillway.destinations SET enabled = true WHERE id = ${id}`
  expect(await daemon.logged('backlog.abandoned')).toMatchObject({ event_count: 9 })
  await write(2)
  await settled(sql, id, null)
  await daemon.stop()
  expect(receiver.requests.flatMap(({ body }) => JSON.parse(body.toString()))).toHaveLength(2)
})

it('judges the time a destination was disabled also when it is enabled while no daemon runs', async () => {
  const { url, sql, receiver, write } = await createScene()
  const id = await insertDestination(sql, { url: receiver.url })
  await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${id}`
  await write(9)
  await sql`UPDATE spillway.delivery_state SET disabled_at = now() - interval '25 hours'`
  await sql`UPDATE spillway.destinations SET enabled = true WHERE id = ${id}`
  const daemon = await startDaemon(url, quick)
  expect(await daemon.logged('backlog.abandoned')).toMatchObject({ event_count: 9 })
  await write(2)
  await settled(sql, id, null)
  await daemon.stop()
  expect(receiver.requests.flatMap(({ body }) => JSON.parse(body.toString()))).toHaveLength(2)
  expect(await sql`SELECT disabled_for_ms FROM spillway.cursors`).toEqual([{ disabled_for_ms: null }])
})
