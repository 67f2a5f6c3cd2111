import { randomBytes } from 'node:crypto'
import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { freshTable, sourcePool, watch } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)

/** A session of its own, in which a transaction may stay open. */
function session(url = database.url): postgres.Sql {
  const own = postgres(url, { max: 1, onnotice: () => {} })
  whenDone(() => own.end())
  return own
}

async function setUp() {
  const definition = await freshTable(database)
  const { relation } = definition
  const sequence = `pg_get_serial_sequence('${relation}', 'id')`
  const insert = async (client: postgres.Sql = sql): Promise<string> => {
    const [row] = await client.unsafe<{ id: string }[]>(`INSERT INTO ${relation} DEFAULT VALUES RETURNING id`)
    return String(row?.id)
  }
  return { definition, relation, sequence, insert, watching: watch(pool, definition) }
}

describe('the horizon stands still before a transaction that', () => {
  test('inserted a row and has not ended, and passes it when it commits', async () => {
    const { insert, watching } = await setUp()
    const writer = session()
    await watching.reached('0')
    await writer`begin`
    await insert(writer)
    expect(await insert()).toBe('2')
    await watching.looked(10)
    expect(watching.watcher.horizon).toBe('0')
    await writer`commit`
    await watching.reached('2')
  })

  test('drew an id and has written nothing yet', async () => {
    const { relation, sequence, insert, watching } = await setUp()
    const writer = session()
    await watching.reached('0')
    await writer`begin`
    const [drawn] = await writer.unsafe<{ id: string }[]>(`SELECT nextval(${sequence}) AS id`)
    expect(await insert()).toBe('2')
    await watching.looked(10)
    expect(watching.watcher.horizon).toBe('0')
    await writer.unsafe(`INSERT INTO ${relation} (id) VALUES ($1)`, [drawn?.id ?? ''])
    await watching.looked(5)
    expect(watching.watcher.horizon).toBe('0')
    await writer`commit`
    await watching.reached('2')
  })

  test('drew an id in a savepoint that was rolled back', async () => {
    const { relation, insert, watching } = await setUp()
    const writer = session()
    await watching.reached('0')
    await writer`begin`
    await writer`savepoint a`
    const id = await insert(writer)
    await writer`rollback to savepoint a`
    await insert()
    await watching.looked(10)
    expect(watching.watcher.horizon).toBe('0')
    // The id it drew is still its own to use.
    await writer.unsafe(`INSERT INTO ${relation} (id) VALUES ($1)`, [id])
    await writer`commit`
    await watching.reached('2')
  })

  test('was prepared, until it is committed', async () => {
    const { insert, watching } = await setUp()
    const gid = randomBytes(6).toString('hex')
    const writer = session()
    await watching.reached('0')
    await writer`begin`
    await insert(writer)
    await insert()
    await watching.looked()
    await writer.unsafe(`PREPARE TRANSACTION '${gid}'`)
    await watching.looked(10)
    expect(watching.watcher.horizon).toBe('0')
    await writer.unsafe(`COMMIT PREPARED '${gid}'`)
    await watching.reached('2')
  })
})

describe('the horizon goes on', () => {
  test('when an open transaction is rolled back or its session is killed', async () => {
    const { insert, watching } = await setUp()
    const [first, second] = [session(), session()]
    await first`begin`
    await second`begin`
    await insert(first)
    await insert(second)
    await insert()
    await watching.looked()
    await first`rollback`
    const [backend] = await second`select pg_backend_pid() as pid`
    await sql`select pg_terminate_backend(${backend?.pid})`
    await watching.reached('3')
  })

  test('over all rows of a statement that inserts many', async () => {
    const { relation, watching } = await setUp()
    const writer = session()
    await writer`begin`
    await writer.unsafe(`INSERT INTO ${relation} (org_id) SELECT 'a' FROM generate_series(1, 5000)`)
    await watching.looked()
    expect(watching.watcher.horizon ?? '0').toBe('0')
    await writer`commit`
    await watching.reached('5000')
  })

  test('under a stream of writers that overlap without a pause', async () => {
    const { insert, watching } = await setUp()
    const writers = [session(), session()]
    let turn = 0
    for (; turn < 60; turn += 1) {
      const [starting, ending] = turn % 2 === 0 ? writers : writers.toReversed()
      if (!starting || !ending) throw new Error('two writers')
      await starting`begin`
      await insert(starting)
      // At every moment at least one transaction is open.
      if (turn > 0) await ending`commit`
      await watching.looked(1)
      if (Number(watching.watcher.horizon ?? 0) > 20) break
    }
    expect(Number(watching.watcher.horizon)).toBeGreaterThan(0)
    for (const writer of writers) await writer`rollback`
  })

  test('under a stream of two-phase commits that overlap without a pause', async () => {
    const { insert, watching } = await setUp()
    const writer = session()
    const gid = (turn: number) => `'${watching.watcher.definition.relation}-${turn}'`
    const turns = 40
    for (let turn = 0; turn < turns; turn += 1) {
      await writer`begin`
      await insert(writer)
      await writer.unsafe(`PREPARE TRANSACTION ${gid(turn)}`)
      if (turn > 0) await writer.unsafe(`COMMIT PREPARED ${gid(turn - 1)}`)
      await watching.looked(1)
    }
    expect(Number(watching.watcher.horizon)).toBeGreaterThan(turns / 4)
    await writer.unsafe(`COMMIT PREPARED ${gid(turns - 1)}`)
    await watching.reached(String(turns))
  })
})

describe('the horizon is not held back by', () => {
  test.each([
    ['an update', (relation: string) => `UPDATE ${relation} SET org_id = 'b'`],
    ['a delete', (relation: string) => `DELETE FROM ${relation} WHERE id = 1`],
    ['a lock on the table', (relation: string) => `LOCK TABLE ${relation} IN SHARE ROW EXCLUSIVE MODE`],
    ['rows locked', (relation: string) => `SELECT FROM ${relation} FOR UPDATE`],
    ['a look at the sequence', (relation: string) => `SELECT last_value FROM ${relation}_id_seq`],
  ])('%s', async (_, statement) => {
    const { relation, insert, watching } = await setUp()
    await insert()
    const other = session()
    await other`begin`
    await other.unsafe(statement(relation))
    if (!statement(relation).startsWith('LOCK')) await insert()
    const [top] = await sql.unsafe<{ id: string }[]>(`SELECT max(id)::text AS id FROM ${relation}`)
    await watching.reached(top?.id ?? '')
    await other`rollback`
  })

  test('a vacuum', async () => {
    const { relation, insert, watching } = await setUp()
    await insert()
    await sql.unsafe(`VACUUM ${relation}`)
    await watching.reached('1')
  })

  test('writers of another table, or of another database on the same server', async () => {
    const { insert, watching } = await setUp()
    const other = await setUp()
    const elsewhere = await createTestDatabase()
    const [here, there] = [session(), session(elsewhere.url)]
    await here`begin`
    await other.insert(here)
    await there`begin`
    await there`insert into spillway.action_audit_log default values`
    await insert()
    await watching.reached('1')
    await here`rollback`
    await there`rollback`
  })
})
