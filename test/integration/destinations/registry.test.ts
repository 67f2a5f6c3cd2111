import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import { Availability } from '../../../src/db/availability.ts'
import { connectState } from '../../../src/db/client.ts'
import { DatabaseClock, Registry, type RegistryChanges } from '../../../src/destinations/registry.ts'
import { createTestDatabase, type TestDatabase, whenDone } from '../../support/postgres.ts'
import { Lines } from '../reading/watching.ts'

const never = new AbortController().signal

function session(database: TestDatabase): postgres.Sql {
  const own = postgres(database.url, { max: 1, onnotice: () => {} })
  whenDone(() => own.end())
  return own
}

/** Time passes when it is told to as well. */
class PushedClock extends DatabaseClock {
  pushedMs = 0

  override monotonic(): number {
    return super.monotonic() + this.pushedMs
  }
}

async function setUp() {
  const database = await createTestDatabase()
  const sql = connectState(database.url, { applicationName: 'spillway', max: 2 })
  whenDone(() => sql.end())
  const seen: RegistryChanges[] = []
  const clock = new PushedClock()
  const registry = new Registry({
    sql,
    availability: new Availability(new Lines(), 'state'),
    clock,
    reading: (look) => look(),
    onPoll: () => {},
    onChanges: async (changes) => {
      seen.push(changes)
    },
  })
  const insert = async (client: postgres.Sql = database.sql, name = 'test') => {
    const [row] = await client`
      INSERT INTO spillway.destinations (name, type, log_types) VALUES (${name}, 'http', '{request}') RETURNING id`
    return Number(row?.id)
  }
  /** What one poll says has changed. */
  const poll = async () => {
    await registry.poll(never)
    const changes = seen.splice(0)
    return {
      upserted: changes.flatMap(({ upserted }) => upserted.map(({ id, name }) => [id, name])),
      removed: changes.flatMap(({ removed }) => removed),
      sources: changes.flatMap(({ sources }) => sources?.map(({ logType }) => logType) ?? []),
      calls: changes.length,
    }
  }
  const nothing = { upserted: [], removed: [], sources: [], calls: 0 }
  return { database, sql: database.sql, clock, registry, seen, insert, poll, nothing }
}

describe('the registry', () => {
  test('gives all rows and all sources, enabled or not, at the first poll, and nothing when nothing has changed', async () => {
    const { sql, insert, poll, nothing } = await setUp()
    await sql`UPDATE spillway.sources SET enabled = false WHERE log_type = 'access'`
    const ids = [await insert(), await insert()]
    const first = await poll()
    expect(first.upserted.map(([id]) => id)).toEqual(ids)
    expect(first.sources).toEqual(['access', 'action', 'connection', 'request'])
    expect(await poll()).toEqual(nothing)
    expect(await poll()).toEqual(nothing)
  })

  test('reads a row as it is, with numbers, nulls and JSON', async () => {
    const { sql, registry, seen } = await setUp()
    await sql`
      INSERT INTO spillway.destinations (org_id, name, type, config, log_types, start_from, delivery, filter, created_at)
      VALUES ('acme', 'a "b"', 'http', '{"url":"https://a.example","n":1.5}', '{request,action}', 'beginning',
              '{"batchSize":5}', 'null', '2026-03-01T12:00:00.123Z')`
    await registry.poll(never)
    expect(seen[0]?.upserted).toEqual([
      expect.objectContaining({
        id: 1,
        orgId: 'acme',
        name: 'a "b"',
        type: 'http',
        config: { url: 'https://a.example', n: 1.5 },
        logTypes: ['request', 'action'],
        enabled: true,
        startFrom: 'beginning',
        filter: null,
        redaction: null,
        delivery: { batchSize: 5 },
        createdAt: Date.parse('2026-03-01T12:00:00.123Z'),
        revision: expect.stringMatching(/^1\/\d+$/),
      }),
    ])
  })

  test('sees an edit once, also several in one transaction', async () => {
    const { sql, insert, poll, nothing } = await setUp()
    const id = await insert()
    await poll()
    await sql.begin(async (transaction) => {
      await transaction`UPDATE spillway.destinations SET name = 'b' WHERE id = ${id}`
      await transaction`UPDATE spillway.destinations SET name = 'c' WHERE id = ${id}`
    })
    expect((await poll()).upserted).toEqual([[id, 'c']])
    expect(await poll()).toEqual(nothing)
  })

  test('sees what commits late and out of order', async () => {
    const { database, insert, poll, nothing } = await setUp()
    const [slow, slower, prepared] = [session(database), session(database), session(database)]
    await slower`begin`
    const third = await insert(slower, 'slower')
    await slow`begin`
    const second = await insert(slow, 'slow')
    await prepared`begin`
    const fourth = await insert(prepared, 'prepared')
    await prepared.unsafe(`PREPARE TRANSACTION 'registry ${third}'`)
    const first = await insert()
    expect((await poll()).upserted).toEqual([[first, 'test']])
    expect(await poll()).toEqual(nothing)
    await slow`commit`
    expect((await poll()).upserted).toEqual([[second, 'slow']])
    const more = await insert()
    expect((await poll()).upserted).toEqual([[more, 'test']])
    await slower`commit`
    expect((await poll()).upserted).toEqual([[third, 'slower']])
    await prepared.unsafe(`COMMIT PREPARED 'registry ${third}'`)
    expect((await poll()).upserted).toEqual([[fourth, 'prepared']])
    expect(await poll()).toEqual(nothing)
  })

  test('sees an edit that commits after a later edit of another row, made in a savepoint', async () => {
    const { database, sql, insert, poll } = await setUp()
    const [one, other] = [await insert(), await insert()]
    await poll()
    const slow = session(database)
    await slow`begin`
    await slow`savepoint a`
    await slow`UPDATE spillway.destinations SET name = 'late' WHERE id = ${one}`
    await sql`UPDATE spillway.destinations SET name = 'early' WHERE id = ${other}`
    expect((await poll()).upserted).toEqual([[other, 'early']])
    await slow`commit`
    expect((await poll()).upserted).toEqual([[one, 'late']])
  })

  test('sees no row that was rolled back', async () => {
    const { database, insert, poll, nothing } = await setUp()
    await poll()
    const own = session(database)
    await own`begin`
    await insert(own)
    await own`rollback`
    expect(await poll()).toEqual(nothing)
  })

  test('sees deletions, also beside as many insertions', async () => {
    const { sql, insert, poll } = await setUp()
    const [one, other] = [await insert(), await insert()]
    await poll()
    await sql`DELETE FROM spillway.destinations WHERE id = ${one}`
    const third = await insert()
    expect(await poll()).toMatchObject({ upserted: [[third, 'test']], removed: [one] })
    await sql`DELETE FROM spillway.destinations WHERE id IN (${other}, ${third})`
    expect((await poll()).removed.sort()).toEqual([other, third])
  })

  test('sees deletions that commit late and out of order', async () => {
    const { database, sql, insert, poll, nothing } = await setUp()
    const [slow, prepared] = [session(database), session(database)]
    const [one, two, three, four] = [await insert(), await insert(), await insert(), await insert()]
    await poll()
    await slow`begin`
    await slow`DELETE FROM spillway.destinations WHERE id = ${one}`
    await prepared`begin`
    await prepared`savepoint a`
    await prepared`DELETE FROM spillway.destinations WHERE id = ${two}`
    await prepared.unsafe(`PREPARE TRANSACTION 'deletion ${two}'`)
    await sql`DELETE FROM spillway.destinations WHERE id = ${three}`
    expect((await poll()).removed).toEqual([three])
    expect(await poll()).toEqual(nothing)
    await slow`commit`
    expect((await poll()).removed).toEqual([one])
    await prepared.unsafe(`COMMIT PREPARED 'deletion ${two}'`)
    expect((await poll()).removed).toEqual([two])
    await slow`begin`
    await slow`DELETE FROM spillway.destinations WHERE id = ${four}`
    await slow`rollback`
    expect(await poll()).toEqual(nothing)
  })

  test('sees deletions by TRUNCATE and as a replica applies them', async () => {
    const { database, sql, insert, poll } = await setUp()
    const [one, other] = [await insert(), await insert()]
    await poll()
    const replica = session(database)
    await replica`SET session_replication_role = replica`
    await replica`DELETE FROM spillway.destinations WHERE id = ${one}`
    expect((await poll()).removed).toEqual([one])
    await sql`TRUNCATE spillway.destinations CASCADE`
    expect((await poll()).removed).toEqual([other])
  })

  test('a role that may delete destinations need not know how that is seen', async () => {
    const { sql, insert, poll } = await setUp()
    const role = `app_${randomBytes(4).toString('hex')}`
    const id = await insert()
    await poll()
    await sql.unsafe(`CREATE ROLE ${role}`)
    try {
      await sql.unsafe(
        `GRANT USAGE ON SCHEMA spillway TO ${role}; GRANT SELECT, DELETE ON spillway.destinations TO ${role}`,
      )
      await sql.begin(async (transaction) => {
        await transaction.unsafe(`SET LOCAL ROLE ${role}`)
        await transaction`DELETE FROM spillway.destinations WHERE id = ${id}`
      })
      expect((await poll()).removed).toEqual([id])
    } finally {
      await sql.unsafe(`DROP OWNED BY ${role} CASCADE; DROP ROLE ${role}`)
    }
  })

  // As after a failover to a standby that lacks the last moments.
  test('finds within a minute what no transaction told of', async () => {
    const { database, clock, insert, poll, nothing } = await setUp()
    const [edited, deleted, kept] = [await insert(), await insert(), await insert()]
    await poll()
    const untold = session(database)
    await untold`ALTER TABLE spillway.destinations DISABLE TRIGGER ALL`
    await untold`UPDATE spillway.destinations SET name = 'as before', version = 0, changed_xid = '3' WHERE id = ${edited}`
    await untold`DELETE FROM spillway.destinations WHERE id = ${deleted}`
    expect(await poll()).toEqual(nothing)
    clock.pushedMs = 60_000
    expect((await poll()).removed).toEqual([deleted])
    expect((await poll()).upserted).toEqual([[edited, 'as before']])
    clock.pushedMs = 120_000
    expect(await poll()).toEqual(nothing)
    await untold`UPDATE spillway.destinations SET changed_xid = '4' WHERE id = ${kept}`
    expect(await poll()).toEqual(nothing)
    clock.pushedMs = 180_000
    await poll()
    expect((await poll()).upserted).toEqual([[kept, 'test']])
  })

  test('forgets deletions that are an hour old', async () => {
    const { sql, clock, insert, poll } = await setUp()
    const [one, other] = [await insert(), await insert()]
    await sql`DELETE FROM spillway.destinations WHERE id = ${one}`
    await sql`UPDATE spillway.destination_deletions SET deleted_at = now() - interval '61 minutes'`
    await sql`DELETE FROM spillway.destinations WHERE id = ${other}`
    await poll()
    expect(await sql`SELECT FROM spillway.destination_deletions`).toHaveLength(1)
    await sql`UPDATE spillway.destination_deletions SET deleted_at = now() - interval '61 minutes'`
    clock.pushedMs = 30_000
    await poll()
    expect(await sql`SELECT FROM spillway.destination_deletions`).toHaveLength(1)
    clock.pushedMs = 60_000
    await poll()
    expect(await sql`SELECT FROM spillway.destination_deletions`).toHaveLength(0)
  })

  test('does not see what came and went between two polls', async () => {
    const { sql, insert, poll, nothing } = await setUp()
    await poll()
    const id = await insert()
    await sql`DELETE FROM spillway.destinations WHERE id = ${id}`
    expect(await poll()).toEqual(nothing)
  })

  test('sees that a row was replaced by another one with its id', async () => {
    const { sql, insert, poll } = await setUp()
    const id = await insert()
    await poll()
    await sql.begin(async (transaction) => {
      await transaction`DELETE FROM spillway.destinations WHERE id = ${id}`
      await transaction`
        INSERT INTO spillway.destinations (id, org_id, name, type, log_types)
        VALUES (${id}, 'another org', 'replaced', 'http', '{request}')`
    })
    expect((await poll()).upserted).toEqual([[id, 'replaced']])
  })

  test.each([
    [
      'pointed elsewhere',
      `UPDATE spillway.sources SET relation = 'public.other' WHERE log_type = 'request'`,
      4,
    ],
    [
      'given other columns',
      `UPDATE spillway.sources SET exclude_columns = '{ip}' WHERE log_type = 'request'`,
      4,
    ],
    ['taken from its orgs', `UPDATE spillway.sources SET org_column = NULL WHERE log_type = 'request'`, 4],
    ['disabled', `UPDATE spillway.sources SET enabled = false WHERE log_type = 'request'`, 4],
    ['deleted', `DELETE FROM spillway.sources WHERE log_type = 'request'`, 3],
    [
      'registered',
      `INSERT INTO spillway.sources (log_type, relation, timestamp_column) VALUES ('own', 'public.own', 'at')`,
      5,
    ],
  ])('gives all sources when one is %s', async (_, statement, count) => {
    const { sql, poll, nothing } = await setUp()
    await poll()
    await sql.unsafe(statement)
    expect((await poll()).sources).toHaveLength(count)
    expect(await poll()).toMatchObject({ ...nothing, upserted: expect.anything() })
  })

  test('sets the clock by the database', async () => {
    const { clock, poll } = await setUp()
    clock.synchronise(0, clock.monotonic(), clock.monotonic())
    expect(clock.now()).toBeLessThan(10_000)
    await poll()
    expect(Math.abs(clock.now() - Date.now())).toBeLessThan(5_000)
  })

  test('gives up waiting for the database when it is stopped', async () => {
    const { registry } = await setUp()
    const stopped = AbortSignal.abort(new Error('stopping'))
    await expect(registry.poll(stopped)).rejects.toThrow('stopping')
    await registry.run(stopped)
  })
})
