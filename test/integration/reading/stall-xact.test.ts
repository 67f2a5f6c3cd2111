import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { SourceDefinition } from '../../../src/sources/source.ts'
import { startCluster } from '../../support/cluster.ts'
import { connect } from '../../support/postgres.ts'
import { insertInto, moved, said, session, watchStalls } from './stalling.ts'
import { freshTable, sourcePool } from './watching.ts'

// A cluster of its own: any transaction of other tests would hold the horizon back, and move it when it ends.
const cluster = await startCluster()
const { url } = cluster
const sql = connect(url)
const database = { url, sql }
const pool = sourcePool(url)

/** A table whose rows carry their transaction. */
async function xactTable(on: typeof database, index: string): Promise<SourceDefinition> {
  const definition = await freshTable(on, ', xact xid8 NOT NULL DEFAULT pg_current_xact_id()')
  if (index !== '') await on.sql.unsafe(`CREATE INDEX ON ${definition.relation} (${index})`)
  return { ...definition, ordering: 'xact', xactColumn: 'xact' }
}

describe('a horizon of transactions that stands still names', () => {
  test.each([
    ['with an index', 'xact, id'],
    ['without an index, where the table is asked whether rows wait', ''],
  ])('a writer of another table (%s)', async (_, index) => {
    const definition = await xactTable(database, index)
    const other = await freshTable(database)
    const writer = session(database, 'elsewhere')
    const watching = watchStalls(pool, definition)
    await writer`begin`
    await insertInto(writer, other)
    const [xact] = await writer<{ id: string }[]>`SELECT pg_current_xact_id()::text AS id`
    await insertInto(sql, definition)
    await said(watching, {
      application_name: 'elsewhere',
      state: 'idle in transaction',
      lock: `ExclusiveLock on transaction ${xact?.id}`,
      horizon: xact?.id,
    })
    await writer`rollback`
    await moved(watching)
  })

  test('it once, also where the table is changed and looked up again meanwhile', async () => {
    const definition = await xactTable(database, 'xact, id')
    const other = await freshTable(database)
    const writer = session(database, 'elsewhere')
    const watching = watchStalls(pool, definition)
    await writer`begin`
    await insertInto(writer, other)
    await insertInto(sql, definition)
    await said(watching, { application_name: 'elsewhere' })
    await sql.unsafe(`ALTER TABLE ${definition.relation} ADD COLUMN extra text`)
    await watching.looked(5)
    expect(watching.lines.all.map(({ code }) => code)).toEqual(['source.started', 'horizon.stalled'])
    await writer`rollback`
    await moved(watching)
  })

  test('a writer of another database', async () => {
    const definition = await xactTable(database, 'xact, id')
    const elsewhere = { url: await cluster.createDatabase('elsewhere') }
    const writer = session(elsewhere, 'neighbour')
    const watching = watchStalls(pool, definition)
    await writer`begin`
    await writer`insert into spillway.action_audit_log default values`
    await insertInto(sql, definition)
    await said(watching, {
      application_name: 'neighbour',
      database: 'elsewhere',
    })
    await writer`rollback`
    await moved(watching)
  })

  test('a prepared transaction, and how many are open', async () => {
    const definition = await xactTable(database, 'xact, id')
    const gid = `xact ${randomBytes(4).toString('hex')}`
    const [writer, second] = [session(database, 'two-phase'), session(database, 'second')]
    const watching = watchStalls(pool, definition)
    await writer`begin`
    await insertInto(writer, definition)
    await writer.unsafe(`PREPARE TRANSACTION '${gid}'`)
    await second`begin`
    await insertInto(second, definition)
    await insertInto(sql, definition)
    const line = await said(watching, { gid, state: 'prepared' })
    expect(Number(line.holders)).toBeGreaterThanOrEqual(2)
    await writer.unsafe(`ROLLBACK PREPARED '${gid}'`)
    await second`rollback`
    await moved(watching)
  })

  test('nobody while a transaction is open and no row waits', async () => {
    const definition = await xactTable(database, '')
    const other = await freshTable(database)
    const writer = session(database, 'elsewhere')
    const watching = watchStalls(pool, definition)
    await writer`begin`
    await insertInto(writer, other)
    // Others come and go, so that the horizon stands still.
    await insertInto(sql, other)
    let asked = 0
    const reader = () => watching.watcher.reader
    await expect.poll(reader).toBeDefined()
    const real = reader()
    if (real) {
      const hasRowsAfter = real.hasRowsAfter.bind(real)
      real.hasRowsAfter = async (position) => {
        const found = await hasRowsAfter(position)
        asked += 1
        return found
      }
    }
    await expect.poll(() => asked, { timeout: 20_000 }).toBeGreaterThan(1)
    expect(watching.lines.all.map(({ code }) => code)).toEqual(['source.started'])
    await writer`rollback`
  })
})
