import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { connectSource } from '../../../src/db/client.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { insertInto, moved, pidOf, said, session, stall, watchStalls } from './stalling.ts'
import { define, freshTable, sourcePool, watch } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)

describe('a horizon of ids that stands still names', () => {
  test('a session that drew an id and is idle in its transaction, and then that it moves', async () => {
    const definition = await freshTable(database)
    const writer = session(database, 'forgetful')
    const pid = await pidOf(writer)
    const watching = watchStalls(pool, definition)
    await watching.reached('0')
    await writer`begin`
    await writer.unsafe(`SELECT nextval(pg_get_serial_sequence('${definition.relation}', 'id'))`)
    await insertInto(sql, definition)
    const line = await said(watching, { holder_pid: pid })
    const name = definition.relation.replace('public.', '')
    expect(line).toMatchObject({
      log_type: 'test',
      horizon: '0',
      holders: 1,
      application_name: 'forgetful',
      user: 'postgres',
      database: new URL(database.url).pathname.slice(1),
      client_address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      backend_type: 'client backend',
      state: 'idle in transaction',
      wait: 'Client: ClientRead',
      lock: `RowExclusiveLock on ${name}_id_seq`,
      holder: expect.stringContaining(`pid ${pid} (forgetful, postgres@`),
      hint: undefined,
    })
    expect(Number(line.stalled_for_ms)).toBeGreaterThanOrEqual(stall.afterMs)
    expect(Number(line.transaction_age_ms)).toBeGreaterThanOrEqual(stall.afterMs)
    expect(Math.abs(Number(line.transaction_started_at) - Date.now())).toBeLessThan(60_000)
    await writer`rollback`
    await moved(watching)
    expect(watching.lines.all.at(-1)?.fields).toMatchObject({ horizon: '2' })
    expect(watching.lines.all.filter(({ code }) => code === 'horizon.stalled')).toHaveLength(1)
  })

  test('an active one, and what it waits for itself', async () => {
    const definition = await freshTable(database)
    const [writer, blocker] = [session(database, 'busy'), session(database, 'blocker')]
    const watching = watchStalls(pool, definition)
    await watching.reached('0')
    await blocker`begin`
    await blocker`SELECT pg_advisory_xact_lock(77)`
    await writer`begin`
    await insertInto(writer, definition)
    const working = writer`SELECT pg_advisory_xact_lock(77)`.execute()
    await insertInto(sql, definition)
    await said(watching, {
      application_name: 'busy',
      state: 'active',
      wait: 'Lock: advisory',
      blocked_by: [String(await pidOf(blocker))],
    })
    await blocker`rollback`
    await working
    await writer`commit`
    await moved(watching)
  })

  test('an active one that computes', async () => {
    const definition = await freshTable(database)
    const writer = session(database, 'slow report')
    const pid = await pidOf(writer)
    const watching = watchStalls(pool, definition)
    await watching.reached('0')
    await writer`begin`
    await insertInto(writer, definition)
    // Cut short below: nobody waits for the minute.
    const working = writer`SELECT pg_sleep(60)`.catch(() => {})
    await insertInto(sql, definition)
    await said(watching, { holder_pid: pid, state: 'active', wait: 'Timeout: PgSleep' })
    await sql`SELECT pg_cancel_backend(${pid})`
    await working
    await writer`rollback`
    await moved(watching)
  })

  test('a prepared transaction, by its gid', async () => {
    const definition = await freshTable(database)
    const gid = `order ${randomBytes(4).toString('hex')}`
    const writer = session(database, 'two-phase')
    const watching = watchStalls(pool, definition)
    await watching.reached('0')
    await writer`begin`
    await insertInto(writer, definition)
    await insertInto(sql, definition)
    await writer.unsafe(`PREPARE TRANSACTION '${gid}'`)
    const line = await said(watching, { gid })
    expect(line).toMatchObject({
      state: 'prepared',
      holder_pid: undefined,
      user: 'postgres',
      holders: 1,
      holder: expect.stringContaining(`the prepared transaction '${gid}'`),
      lock: expect.stringContaining('RowExclusiveLock on'),
    })
    expect(Number(line.transaction_age_ms)).toBeGreaterThanOrEqual(0)
    await writer.unsafe(`COMMIT PREPARED '${gid}'`)
    await moved(watching)
  })

  test('whoever has locked a table without a sequence', async () => {
    const relation = `public.fenced_${randomBytes(4).toString('hex')}`
    await sql.unsafe(`CREATE TABLE ${relation} (id bigint PRIMARY KEY, org_id text, at timestamptz)`)
    const watching = watchStalls(pool, define({ relation }))
    await watching.reached('0')
    const locker = session(database, 'locker')
    await locker`begin`
    await locker.unsafe(`LOCK TABLE ${relation} IN ROW EXCLUSIVE MODE`)
    await sql.unsafe(`INSERT INTO ${relation} (id) VALUES (1)`)
    const name = relation.replace('public.', '')
    await said(watching, { application_name: 'locker', lock: `RowExclusiveLock on ${name}` })
    await locker`commit`
    await moved(watching)
  })

  test('the oldest of several, and how many there are', async () => {
    const definition = await freshTable(database)
    const writers = ['first', 'second', 'third'].map((name) => session(database, name))
    const watching = watchStalls(pool, definition)
    await watching.reached('0')
    for (const writer of writers) await writer`begin`
    // Ids are drawn in another order than the transactions began in.
    for (const writer of writers.toReversed()) await insertInto(writer, definition)
    await insertInto(sql, definition)
    await said(watching, { application_name: 'first', holders: 3 })
    for (const writer of writers) await writer`commit`
    await moved(watching)
  })

  test('nobody who came later than the rows that wait', async () => {
    const definition = await freshTable(database)
    const [writer, later] = [session(database, 'holder'), session(database, 'later')]
    const watching = watchStalls(pool, definition)
    await watching.reached('0')
    // It is older, and draws its id after the row that waits.
    await later`begin`
    await later`SELECT 1`
    await writer`begin`
    await insertInto(writer, definition)
    await insertInto(sql, definition)
    await watching.looked(3)
    await insertInto(later, definition)
    await said(watching, { application_name: 'holder', holders: 1 })
    await writer`commit`
    await later`commit`
    await moved(watching)
  })
})

test('a table that is locked against the look itself names who has locked it', async () => {
  const definition = await freshTable(database)
  const watching = watchStalls(pool, definition)
  await watching.reached('0')
  const migration = session(database, 'migration')
  await migration`begin`
  await migration.unsafe(`LOCK TABLE ${definition.relation}`)
  const name = definition.relation.replace('public.', '')
  await said(watching, { application_name: 'migration', lock: `AccessExclusiveLock on ${name}` })
  await migration`commit`
  await moved(watching)
  await insertInto(sql, definition)
  await watching.reached('1')
})

test('a sequence that is locked against the look names who has locked it', async () => {
  const definition = await freshTable(database)
  const watching = watchStalls(pool, definition)
  await watching.reached('0')
  const migration = session(database, 'migration')
  await migration`begin`
  await migration.unsafe(`ALTER SEQUENCE ${definition.relation}_id_seq MAXVALUE 1000000`)
  await said(watching, {
    application_name: 'migration',
    lock: expect.stringContaining('ShareRowExclusiveLock on'),
  })
  await migration`rollback`
  await moved(watching)
})

test('a role with SELECT only names what it may see, and says what it lacks', async () => {
  const definition = await freshTable(database)
  const role = `reader_${randomBytes(4).toString('hex')}`
  await sql.unsafe(`
    CREATE ROLE ${role} LOGIN PASSWORD 'reader';
    GRANT USAGE ON SCHEMA public TO ${role};
    GRANT SELECT ON ${definition.relation} TO ${role}`)
  const url = new URL(database.url)
  url.username = role
  url.password = 'reader'
  const asReader = connectSource(url.href, { applicationName: 'spillway reader', max: 2 })
  whenDone(async () => {
    await asReader.end()
    await sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
  })
  const writer = session(database, 'secretive')
  const watching = watchStalls(asReader, definition)
  await watching.reached('0')
  await writer`begin`
  await insertInto(writer, definition)
  await insertInto(sql, definition)
  const line = await said(watching, { holder_pid: await pidOf(writer) })
  expect(line).toMatchObject({
    application_name: 'secretive',
    user: 'postgres',
    lock: expect.stringContaining('RowExclusiveLock on'),
    state: undefined,
    client_address: undefined,
    transaction_age_ms: undefined,
    hint: `This role may not see other roles' sessions in full: GRANT pg_read_all_stats TO "${role}".`,
  })
  await writer`commit`
  await moved(watching)
  // It goes on, and was never an error of the source.
  expect(watching.lines.all.map(({ code }) => code)).toEqual([
    'source.started',
    'horizon.stalled',
    'horizon.moved',
  ])
  await watching.stop()
})

test('with pg_read_all_stats a role sees all of it', async () => {
  const definition = await freshTable(database)
  const role = `reader_${randomBytes(4).toString('hex')}`
  await sql.unsafe(`
    CREATE ROLE ${role} LOGIN PASSWORD 'reader';
    GRANT pg_read_all_stats TO ${role};
    GRANT USAGE ON SCHEMA public TO ${role};
    GRANT SELECT ON ${definition.relation} TO ${role}`)
  const url = new URL(database.url)
  url.username = role
  url.password = 'reader'
  const asReader = connectSource(url.href, { applicationName: 'spillway reader', max: 2 })
  whenDone(async () => {
    await asReader.end()
    await sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
  })
  const writer = session(database, 'open')
  const watching = watchStalls(asReader, definition)
  await watching.reached('0')
  await writer`begin`
  await insertInto(writer, definition)
  await insertInto(sql, definition)
  await said(watching, { application_name: 'open', state: 'idle in transaction', hint: undefined })
  await writer`rollback`
  await watching.stop()
})

test('a diagnosis that never answers does not slow the watching', async () => {
  const definition = await freshTable(database)
  const diagnosis = { holders: () => new Promise<never>(() => {}), rowsWait: async () => true }
  const writer = session(database, 'holder')
  const watching = watch(pool, definition, undefined, {}, { stall, diagnosis })
  await watching.reached('0')
  await writer`begin`
  await insertInto(writer, definition)
  await insertInto(sql, definition)
  await sql`SELECT pg_sleep(0.4)`
  await writer`commit`
  await watching.reached('2')
  await insertInto(sql, definition)
  await watching.reached('3')
})
