import { describe, expect, it } from 'vitest'
import { briefLease, startDaemon } from '../support/daemon.ts'
import { insertDestination, stateOf } from '../support/destinations.ts'
import { session } from '../support/postgres.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { createXactTable, notesOf } from '../support/xact-table.ts'

const write = ({ sql }: Scene, ...notes: string[]) =>
  sql`INSERT INTO visit (tenant, note) SELECT 'acme', note FROM unnest(${notes}::text[]) AS note`

async function notes({ receiver }: Scene, count: number): Promise<string[]> {
  while (notesOf(receiver.requests).length < count) await receiver.received(receiver.requests.length + 1)
  return notesOf(receiver.requests)
}

describe('a source with the ordering xact', () => {
  it.each([
    ['uuid', 'uuid DEFAULT gen_random_uuid()'],
    ['text', `text DEFAULT md5(random()::text)`],
    ['bigint', `bigint DEFAULT (random() * 1e18)::bigint`],
  ])('is delivered by transaction, whatever its %s keys are', async (_, key) => {
    const scene = await createScene()
    const { url, sql, receiver } = scene
    await createXactTable(sql, { key })
    const daemon = await startDaemon(url)
    await insertDestination(sql, { url: receiver.url, org: 'acme', logTypes: ['visit'] })
    const [early, late] = [session(url), session(url)]
    await early`BEGIN`
    await early`INSERT INTO visit (tenant, note) VALUES ('acme', 'early')`
    await late`INSERT INTO visit (tenant, note) VALUES ('acme', 'late'), ('globex', 'of somebody else')`
    await daemon.logged('source.started', ({ log_type }) => log_type === 'visit')
    await sql`SELECT pg_sleep(0.3)`
    // The earlier transaction is open: nothing of a later one may be sent.
    expect(receiver.requests).toHaveLength(0)
    await early`COMMIT`
    expect(await notes(scene, 2)).toEqual(['early', 'late'])
    expect(await daemon.stop()).toBe(0)
  })

  it('starts a destination exactly at its insert, with transactions open on both sides of it', async () => {
    const scene = await createScene()
    const { url, sql, receiver } = scene
    await createXactTable(sql)
    await write(scene, 'long before')
    const open = session(url)
    await open`BEGIN`
    await open`INSERT INTO visit (tenant, note) VALUES ('acme', 'open at the insert')`
    await write(scene, 'before')
    await sql.begin(async (own) => {
      await insertDestination(own as never, { url: receiver.url, logTypes: ['visit'] })
      await own`INSERT INTO visit (tenant, note) VALUES ('acme', 'in the same transaction')`
    })
    await write(scene, 'after')
    await startDaemon(url)
    await open`COMMIT`
    await write(scene, 'later')
    expect((await notes(scene, 4)).sort()).toEqual(
      ['after', 'in the same transaction', 'later', 'open at the insert'].sort(),
    )
  })

  it.each([
    ['beginning', ['old', 'new', 'fresh']],
    ['2026-01-01T00:00:00Z', ['new', 'fresh']],
  ])('starts from %s', async (startFrom, expected) => {
    const scene = await createScene()
    const { url, sql, receiver } = scene
    await createXactTable(sql)
    await sql`INSERT INTO visit (tenant, note, at) VALUES ('acme', 'old', '2025-06-01')`
    await write(scene, 'new')
    const daemon = await startDaemon(url)
    // Transactions of other tests hold the horizon of the whole server back; an instant is sought below it.
    await expect
      .poll(
        async () =>
          (
            await sql`
              SELECT FROM spillway.source_state
              WHERE log_type = 'visit' AND horizon::numeric > (SELECT max(xact::text::numeric) FROM visit)`
          ).length,
        { timeout: 60_000 },
      )
      .toBe(1)
    await insertDestination(sql, { url: receiver.url, logTypes: ['visit'], startFrom })
    await daemon.logged('destination.added')
    await write(scene, 'fresh')
    expect(await notes(scene, expected.length)).toEqual(expected)
  })

  it('goes on in the middle of a large transaction after a kill, and repeats no settled batch', async () => {
    const scene = await createScene()
    const { url, sql, receiver } = scene
    await createXactTable(sql)
    const id = await insertDestination(sql, {
      url: receiver.url,
      logTypes: ['visit'],
      delivery: { batchSize: 10, interBatchDelayMs: 20 },
    })
    await sql`INSERT INTO visit (tenant, note) SELECT 'acme', n FROM generate_series(1, 300) n`
    const first = await startDaemon(url, briefLease)
    await receiver.received(7)
    first.kill('SIGKILL')
    await first.exited
    await startDaemon(url, briefLease)
    const got = await notes(scene, 300)
    while (new Set(notesOf(receiver.requests)).size < 300)
      await receiver.received(receiver.requests.length + 1)
    expect(got.length).toBeLessThan(340)
    expect(await stateOf(sql, id)).toMatchObject({ status: 'active' })
  })

  it('skips an expired backlog with its exact count', async () => {
    const scene = await createScene()
    const { url, sql, receiver } = scene
    receiver.always({ status: 500 })
    await createXactTable(sql)
    const id = await insertDestination(sql, {
      url: receiver.url,
      logTypes: ['visit'],
      delivery: { maxBacklogAgeMs: 1_000 },
    })
    await sql`INSERT INTO visit (tenant, note) SELECT 'acme', n FROM generate_series(1, 7) n`
    const daemon = await startDaemon(url, { SPILLWAY_BACKOFF_SCHEDULE_MS: '300' })
    expect(await daemon.logged('backlog.abandoned')).toMatchObject({ event_count: 7 })
    await daemon.stop()
    expect(
      await sql`SELECT event_count, reason FROM spillway.skipped_ranges WHERE destination_id = ${id}`,
    ).toEqual([{ event_count: '7', reason: 'backlog_expired' }])
  })
})
