import { describe, expect, it } from 'vitest'
import { briefLease, type DaemonProcess, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { session } from '../support/postgres.ts'
import { createScene, type Scene } from '../support/scene.ts'

const quick = { SPILLWAY_BACKOFF_SCHEDULE_MS: '200', SPILLWAY_INTER_BATCH_DELAY_MS: '0' }

const records = ({ sql }: Scene) => sql`
  SELECT from_position, to_position, event_count, reason FROM spillway.skipped_ranges ORDER BY id`

const deletedUpTo = ({ sql }: Scene, id: number) =>
  sql`DELETE FROM spillway.request_audit_log WHERE id <= ${id}`

const warnings = ({ lines }: DaemonProcess) =>
  lines.filter(({ event }) => event === 'events.deleted_at_source')

/** Waits until the daemon has stored where the table begins. */
async function remembered({ sql }: Scene, oldest: string): Promise<void> {
  const known = () =>
    sql`SELECT FROM spillway.source_state WHERE log_type = 'request' AND trace->>'oldest' = ${oldest}`
  while ((await known()).length === 0) await sql`SELECT pg_sleep(0.02)`
}

const idsOf = ({ receiver }: Scene) =>
  receiver.requests
    .filter(({ path }) => path === '/')
    .flatMap(({ body }) => (JSON.parse(body.toString()) as { id: string }[]).map(({ id }) => id))

describe('rows that were deleted before they were sent are recorded and warned of', () => {
  it('when the endpoint was down meanwhile', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    const daemon = await startDaemon(url, quick)
    const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 4 } })
    await write(5)
    await settled(sql, id, null)
    receiver.always({ status: 503 })
    await write(20)
    await daemon.logged('destination.backing_off')
    await deletedUpTo(scene, 12)
    receiver.always({ status: 200 })
    await settled(sql, id, null)
    expect(await daemon.logged('events.deleted_at_source')).toMatchObject({
      level: 'warn',
      destination_id: id,
      ranges: [{ log_type: 'request', from_position: '5', to_position: '12', event_count: null }],
    })
    expect(await records(scene)).toEqual([
      { from_position: '5', to_position: '12', event_count: null, reason: 'deleted_at_source' },
    ])
    expect(idsOf(scene).at(-1)).toBe('request:25')
    await daemon.stop()
  })

  it('when all that was waiting is gone, and the table empty', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    receiver.always({ status: 503 })
    const daemon = await startDaemon(url, quick)
    await insertDestination(sql, { url: receiver.url })
    await write(3)
    await daemon.logged('destination.backing_off')
    await sql`DELETE FROM spillway.request_audit_log`
    receiver.always({ status: 200 })
    await daemon.logged('events.deleted_at_source')
    await daemon.stop()
    expect(await records(scene)).toMatchObject([{ from_position: '0', to_position: '3', event_count: null }])
  })

  it('when the destination was disabled meanwhile', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    const daemon = await startDaemon(url, quick)
    const id = await insertDestination(sql, { url: receiver.url, org: 'acme' })
    await write(2)
    await settled(sql, id, 'acme')
    await sql`UPDATE spillway.destinations SET enabled = false`
    await daemon.logged('destination.disabled')
    await write(4)
    await deletedUpTo(scene, 4)
    await sql`UPDATE spillway.destinations SET enabled = true`
    await settled(sql, id, 'acme')
    await daemon.logged('events.deleted_at_source')
    await daemon.stop()
    expect(await records(scene)).toMatchObject([{ from_position: '2', to_position: '4' }])
  })

  it('when no daemon ran meanwhile', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    const id = await insertDestination(sql, { url: receiver.url })
    const first = await startDaemon(url, quick)
    await write(3)
    await settled(sql, id, null)
    await first.stop()
    await write(6)
    await deletedUpTo(scene, 5)
    const second = await startDaemon(url, quick)
    await settled(sql, id, null)
    await second.logged('events.deleted_at_source')
    await second.stop()
    expect(await records(scene)).toMatchObject([{ from_position: '3', to_position: '5' }])
    expect(idsOf(scene)).toEqual([1, 2, 3, 6, 7, 8, 9].map((number) => `request:${number}`))
  })

  it('when the daemon was killed after they were frozen, and had noticed that the table begins later', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    const slow = { ...quick, ...briefLease, SPILLWAY_BACKOFF_SCHEDULE_MS: '600000' }
    const first = await startDaemon(url, slow)
    const id = await insertDestination(sql, { url: receiver.url })
    await write(5)
    await settled(sql, id, null)
    receiver.always({ status: 503 })
    await write(20)
    await first.logged('destination.backing_off')
    await deletedUpTo(scene, 25)
    await write(5)
    await remembered(scene, '26')
    first.kill('SIGKILL')
    await first.exited
    // As for one whose lag nobody has measured yet.
    await sql`UPDATE spillway.delivery_state SET lag_events = NULL, next_attempt_at = now()`
    receiver.always({ status: 200 })
    const second = await startDaemon(url, slow)
    await settled(sql, id, null)
    await second.logged('events.deleted_at_source')
    await second.stop()
    expect(await records(scene)).toMatchObject([{ from_position: '5', to_position: '25' }])
  })

  it('and beside them what a backlog that expired had still', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    receiver.always({ status: 503 })
    const daemon = await startDaemon(url, quick)
    await insertDestination(sql, { url: receiver.url, delivery: { maxBacklogAgeMs: 1_500 } })
    await write(10)
    await daemon.logged('destination.backing_off')
    await deletedUpTo(scene, 4)
    expect(await daemon.logged('backlog.abandoned')).toMatchObject({ event_count: 6 })
    await daemon.stop()
    expect(await records(scene)).toEqual([
      { from_position: '0', to_position: '4', event_count: null, reason: 'deleted_at_source' },
      { from_position: '0', to_position: '10', event_count: '6', reason: 'backlog_expired' },
    ])
  })
})

it('a range of deleted rows ends where rows of open transactions may still appear', async () => {
  const scene = await createScene()
  const { url, sql, receiver, write } = scene
  receiver.always({ status: 503 })
  const first = await startDaemon(url, quick)
  const id = await insertDestination(sql, { url: receiver.url })
  await write(3)
  await first.logged('destination.backing_off')
  const open = session(url)
  await open`BEGIN`
  await open`INSERT INTO spillway.request_audit_log (org_id) VALUES ('acme')`
  await write(1)
  await deletedUpTo(scene, 3)
  receiver.always({ status: 200 })
  await first.logged('events.deleted_at_source')
  expect(await records(scene)).toMatchObject([{ from_position: '0', to_position: '3' }])
  await open`COMMIT`
  await first.stop()
  const second = await startDaemon(url, quick)
  await settled(sql, id, null)
  await second.stop()
  expect(idsOf(scene).slice(-2)).toEqual(['request:4', 'request:5'])
})

describe('nothing is recorded', () => {
  it('for gaps that transactions leave which roll back, from the first row on', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    const daemon = await startDaemon(url, quick)
    const id = await insertDestination(sql, { url: receiver.url })
    for (let round = 0; round < 3; round++) {
      await sql
        .begin(async (tx) => {
          await tx`INSERT INTO spillway.request_audit_log (org_id) SELECT 'acme' FROM generate_series(1, 3)`
          await tx`SAVEPOINT s`
          await tx.unsafe('ROLLBACK')
        })
        .catch(() => {})
      await write(1)
      await settled(sql, id, null)
    }
    await daemon.stop()
    expect(await records(scene)).toEqual([])
    expect(warnings(daemon)).toEqual([])
  })

  it('when retention deletes what everybody has got, of busy and of idle tenants, over restarts and edits', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    let daemon = await startDaemon(url, quick)
    const idle = await insertDestination(sql, { url: `${receiver.url}/idle`, org: 'idle' })
    const busy = await insertDestination(sql, { url: receiver.url, org: 'acme' })
    await write(1, 'idle')
    await settled(sql, idle, 'idle')
    for (let round = 1; round <= 3; round++) {
      await write(10)
      await settled(sql, busy, 'acme')
      await deletedUpTo(scene, round * 10 - 2)
      if (round === 2) await sql`UPDATE spillway.destinations SET name = 'edited'`
      await write(1)
      await settled(sql, busy, 'acme')
      await daemon.stop()
      expect(warnings(daemon)).toEqual([])
      await deletedUpTo(scene, round * 11)
      daemon = await startDaemon(url, quick)
    }
    await write(1, 'idle')
    await settled(sql, idle, 'idle')
    await daemon.stop()
    expect(await records(scene)).toEqual([])
    expect(warnings(daemon)).toEqual([])
  })

  it('for what was gone before a destination that starts at the beginning, also when it is mended first', async () => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    await write(10)
    await deletedUpTo(scene, 6)
    const daemon = await startDaemon(url, quick)
    receiver.always({ status: 503 })
    const id = await insertDestination(sql, { url: receiver.url, startFrom: 'beginning' })
    await daemon.logged('destination.backing_off')
    await sql`UPDATE spillway.destinations SET name = 'mended'`
    receiver.always({ status: 200 })
    await settled(sql, id, null)
    await daemon.stop()
    expect(await records(scene)).toEqual([])
    expect(new Set(idsOf(scene)).size).toBe(4)
  })
})
