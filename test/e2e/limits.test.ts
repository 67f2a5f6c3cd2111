import { expect, it } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { createScene } from '../support/scene.ts'

it('skips what Datadog would drop for its age, on the record, and sends the rest', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({ status: 202, body: '{}' })
  const daemon = await startDaemon(url)
  const id = await insertDestination(sql, {
    url: receiver.url,
    type: 'datadog',
    config: { apiKey: 'a'.repeat(32), endpoint: receiver.url },
  })
  await sql`INSERT INTO spillway.request_audit_log (org_id, occurred_at)
            SELECT 'acme', now() - interval '19 hours' FROM generate_series(1, 3)`
  await write(2)
  await settled(sql, id, null)
  expect(await daemon.logged('events.skipped')).toMatchObject({ level: 'warn', event_count: 3 })
  await daemon.stop()
  expect(
    await sql`SELECT from_position, to_position, event_count, reason FROM spillway.skipped_ranges`,
  ).toEqual([{ from_position: '0', to_position: '3', event_count: '3', reason: 'too_old_for_provider' }])
  expect(receiver.requests.flatMap(({ body }) => JSON.parse(body.toString()))).toHaveLength(2)
})

it('reads audit tables in a database of their own, and starts there with what comes after the destination', async () => {
  const { url, sql, receiver } = await createScene()
  const audit = await createTestDatabase()
  const insert = (age: string, count: number) => audit.sql`
    INSERT INTO spillway.request_audit_log (org_id, occurred_at)
    SELECT 'acme', now() - ${age}::text::interval FROM generate_series(1, ${count}::int)`
  await insert('1 day', 4)
  const daemon = await startDaemon(url, { SPILLWAY_SOURCE_DATABASE_URL: audit.url })
  await insertDestination(sql, { url: receiver.url, org: 'acme' })
  await insert('0', 3)
  await receiver.received(1)
  await daemon.logged('destination.delivered')
  await daemon.stop()
  const events = receiver.requests.flatMap(({ body }) => JSON.parse(body.toString()))
  expect(events.map((event: { id: string }) => event.id)).toEqual(['request:5', 'request:6', 'request:7'])
})

it('gives the other log types their turn while one has a long backlog', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url, { SPILLWAY_INTER_BATCH_DELAY_MS: '50' })
  await insertDestination(sql, {
    url: receiver.url,
    logTypes: ['request', 'action'],
    delivery: { batchSize: 1, maxCatchupBatches: 5 },
  })
  await write(400)
  await receiver.received(2)
  await sql`INSERT INTO spillway.action_audit_log (org_id) VALUES ('acme')`
  const line = await daemon.logged('batch.delivered', ({ log_type }) => log_type === 'action')
  expect(line.events).toBe(1)
  const before = daemon.lines
    .slice(0, daemon.lines.indexOf(line))
    .filter(({ event }) => event === 'batch.delivered')
  expect(before.length).toBeLessThan(200)
  await daemon.stop()
})
