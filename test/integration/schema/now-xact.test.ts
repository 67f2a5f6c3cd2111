/** A destination's start at "now" on a source of the ordering `xact`. */
import { expect, test } from 'vitest'
import { FleetStore } from '../../../src/delivery/fleet-store.ts'
import { resolveSource } from '../../../src/sources/catalog.ts'
import { Reader } from '../../../src/sources/reader.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { define, sourcePool } from '../reading/watching.ts'
import { insertDestination, session } from './rows.ts'

const database = await createTestDatabase()
const { sql } = database
const logType = 'visit'
const relation = 'public.visit'
await sql`
  CREATE TABLE visit (id text COLLATE "C" PRIMARY KEY, at timestamptz DEFAULT now(),
                      xact xid8 NOT NULL DEFAULT pg_current_xact_id())`
await sql`CREATE INDEX ON visit (xact, id)`
await sql`
  INSERT INTO spillway.sources (log_type, relation, timestamp_column, ordering, xact_column)
  VALUES (${logType}, ${relation}, 'at', 'xact', 'xact')`

async function receives(destinationId: number): Promise<unknown[]> {
  const cursor = (await new FleetStore(sql).load([destinationId])).get(destinationId)?.cursors.get(logType)
  if (!cursor) throw new Error('the destination has no cursor')
  const pool = sourcePool(database.url)
  const source = await resolveSource(
    pool,
    define({
      logType,
      relation,
      orgColumn: null,
      timestampColumn: 'at',
      ordering: 'xact',
      xactColumn: 'xact',
    }),
  )
  const { rows } = await new Reader(pool, source).readPage(
    { orgId: null, ...(cursor.start && { start: cursor.start }) },
    { after: cursor.position, upTo: '9000000000000000' },
    { rows: 10_000, bytes: 1e9 },
  )
  return rows.map(({ event }) => event.id.slice(`${logType}:`.length))
}

test('misses no row of transactions that are open when it starts, however new they are', async () => {
  const before =
    await sql`INSERT INTO visit (id) SELECT 'before-' || n FROM generate_series(1, 3) n RETURNING id`
  // Nothing that is newer has ended: such transactions are in no snapshot's list of open ones.
  const writers = Array.from({ length: 4 }, () => session(database))
  for (const [index, writer] of writers.entries()) {
    await writer`begin`
    await writer`INSERT INTO visit (id) VALUES (${`open-${index}`})`
  }
  const id = await insertDestination(sql, [logType])
  for (const writer of writers) await writer`commit`
  await sql`INSERT INTO visit (id) VALUES ('after')`
  const got = await receives(id)
  expect(got).toEqual(expect.arrayContaining(['open-0', 'open-1', 'open-2', 'open-3', 'after']))
  for (const row of before) expect(got).not.toContain(row.id)
})

test('gets what its own transaction writes after it', async () => {
  const own = session(database)
  await own`begin`
  const id = await insertDestination(own, [logType])
  await own`INSERT INTO visit (id) VALUES ('own')`
  await sql`INSERT INTO visit (id) VALUES ('meanwhile')`
  await own`commit`
  expect(await receives(id)).toEqual(expect.arrayContaining(['own', 'meanwhile']))
})
