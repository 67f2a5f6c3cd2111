import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { briefLease, startDaemon } from '../support/daemon.ts'
import { insertDestination, type StateRow, settled, stateOf } from '../support/destinations.ts'
import { late } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

/** A failing destination that is tried often. */
const quick = { ...briefLease, SPILLWAY_BACKOFF_SCHEDULE_MS: '300', SPILLWAY_INTER_BATCH_DELAY_MS: '0' }

/** Waits until what an application sees of a destination is as it should be. */
async function shown(sql: postgres.Sql, id: number, isSo: (state: StateRow) => boolean): Promise<StateRow> {
  for (;;) {
    const state = await stateOf(sql, id)
    if (isSo(state)) return state
    await sql`SELECT pg_sleep(0.2)`
  }
}

it('shows how far a destination behind a failing endpoint is behind, over its log types and of its tenant, until it has recovered', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({ choose: ({ path }) => ({ status: path === '/down' ? 503 : 200 }) })
  const daemon = await startDaemon(url, quick)
  const logTypes = ['request', 'action']
  const down = await insertDestination(sql, { url: `${receiver.url}/down`, org: 'acme', logTypes })
  const up = await insertDestination(sql, { url: `${receiver.url}/up`, org: 'globex', logTypes })
  await daemon.logged('destination.added', ({ destination_id }) => destination_id === up)
  await write(7)
  await write(20, 'globex')
  await sql`
    INSERT INTO spillway.action_audit_log (org_id, occurred_at)
    SELECT 'acme', now() - interval '1 hour' FROM generate_series(1, 5)`
  const behind = await shown(sql, down, ({ lag_events }) => Number(lag_events) > 0)
  expect(behind).toMatchObject({ lag_events: '12', lag_at: expect.any(Date) })
  expect(behind.lag_seconds).toBeGreaterThan(3_600)
  expect(behind.lag_seconds).toBeLessThan(3_700)
  expect(await shown(sql, up, ({ lag_events }) => lag_events !== null)).toMatchObject({
    lag_events: '0',
    lag_seconds: 0,
  })
  receiver.always({ status: 200 })
  expect(await shown(sql, down, ({ lag_events }) => lag_events === '0')).toMatchObject({ lag_seconds: 0 })
  // With nothing to tell nothing is written.
  const [before] =
    await sql`SELECT xmin::text, lag_at FROM spillway.delivery_state WHERE destination_id = ${down}`
  await sql`SELECT pg_sleep(11)`
  const [after] =
    await sql`SELECT xmin::text, lag_at FROM spillway.delivery_state WHERE destination_id = ${down}`
  expect(after).toEqual(before)
  await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${down}`
  await shown(sql, down, ({ lag_events, lag_seconds }) => lag_events === null && lag_seconds === null)
  expect(await daemon.stop()).toBe(0)
}, 90_000)

it('does not count rows that are older than the destination', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({ status: 503 })
  const daemon = await startDaemon(url, quick)
  await daemon.logged('source.started', ({ log_type }) => log_type === 'request')
  // Somebody writes while the destination is made: a mark tells its rows from those before it.
  const reserved = await sql.reserve()
  await write(3)
  await reserved`BEGIN`
  await reserved`INSERT INTO spillway.request_audit_log (org_id) SELECT 'acme' FROM generate_series(1, 2)`
  await write(4)
  const id = await insertDestination(sql, { url: receiver.url, org: 'acme' })
  await reserved`COMMIT`
  reserved.release()
  expect(await sql`SELECT start_until FROM spillway.cursors WHERE destination_id = ${id}`).toMatchObject([
    { start_until: expect.any(String) },
  ])
  await write(1)
  expect(await shown(sql, id, ({ lag_events }) => Number(lag_events) > 0)).toMatchObject({ lag_events: '3' })
  expect(await daemon.stop()).toBe(0)
}, 60_000)

it('counts what was delivered exactly, over kill -9 in the middle', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always(late(20))
  const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 10 } })
  // Larger than an http destination takes.
  await sql`
    INSERT INTO spillway.request_audit_log (org_id, path)
    SELECT 'acme', repeat('x', CASE WHEN n % 100 = 7 THEN 6000000 ELSE 1 END) FROM generate_series(1, 400) n`
  for (let kills = 1; kills <= 4; kills++) {
    const daemon = await startDaemon(url, quick)
    await receiver.received(receiver.requests.length + 5)
    daemon.kill('SIGKILL')
    await daemon.exited
  }
  const last = await startDaemon(url, quick)
  await write(5)
  await settled(sql, id, null)
  expect(await last.stop()).toBe(0)
  const state = await stateOf(sql, id)
  const [ledger] =
    await sql`SELECT count(*) AS letters FROM spillway.dead_letters WHERE destination_id = ${id}`
  expect(state).toMatchObject({
    events_delivered: String(405 - Number(ledger?.letters)),
    events_dead_lettered: ledger?.letters,
    events_skipped: '0',
  })
  expect(Number(state.events_dead_lettered)).toBe(4)
  expect(Number(state.batches_delivered)).toBeGreaterThanOrEqual(40)
  // The kills met batches on their way.
  expect(receiver.requests.length).toBeGreaterThan(Number(state.batches_delivered))
}, 90_000)
