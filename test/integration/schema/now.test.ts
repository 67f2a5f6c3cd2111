import { describe, expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { postgresMajor } from '../../support/server-version.ts'
import { cursorOf, insertDestination, makeSource, session, stateOf, storeHorizon } from './rows.ts'

const database = await createTestDatabase()
const { sql } = database

describe('a new destination', () => {
  test('starts exactly at now: no row from before, every row from the next statement on', async () => {
    const source = await makeSource(database)
    await source.insert(3)
    const id = await source.destination()
    expect(await cursorOf(sql, id, source.logType)).toEqual({
      position: '3',
      frozen: [],
      start_xid: null,
      start_until: null,
    })
    const after = await source.insert(2)
    expect(await source.receives(id)).toEqual(after)
  })

  test('starts before everything where the table is empty', async () => {
    const source = await makeSource(database)
    const id = await source.destination()
    expect(await source.receives(id)).toEqual([])
    expect(await source.insert(2)).toEqual(await source.receives(id))
  })

  test.each([
    ['with a horizon stored', '2'],
    ['with none stored', undefined],
    ['with one from a former life of the table', '900000'],
  ])('misses no row of a transaction that is open when it starts, %s', async (_, horizon) => {
    const source = await makeSource(database)
    await source.insert(2)
    if (horizon) await storeHorizon(sql, source.logType, horizon)
    const [writer, drawer] = [session(database), session(database)]
    await writer`begin`
    const open = await source.insert(2, writer)
    await drawer`begin`
    const [drawn] = await drawer.unsafe(`SELECT nextval('${source.relation}_id_seq')::text AS id`)
    await source.insert(1)
    const id = await source.destination()
    const after = await source.insert(2)
    await writer`commit`
    await drawer.unsafe(`INSERT INTO ${source.relation} (id) VALUES (${drawn?.id})`)
    await drawer`commit`
    expect(await source.receives(id)).toEqual(expect.arrayContaining([...open, String(drawn?.id), ...after]))
  })

  test.each(['2', undefined])(
    'gets no row that was there before, also while transactions are open (horizon %s)',
    async (horizon) => {
      const source = await makeSource(database)
      await source.insert(3)
      if (horizon) await storeHorizon(sql, source.logType, horizon)
      const writer = session(database)
      await writer`begin`
      const open = await source.insert(1, writer)
      await source.insert(2)
      const id = await source.destination()
      await writer`commit`
      expect(await source.receives(id)).toEqual(open)
    },
  )

  test('misses no row of an open transaction on an empty table', async () => {
    const source = await makeSource(database)
    const writer = session(database)
    await writer`begin`
    const open = await source.insert(2, writer)
    const id = await source.destination()
    await writer`commit`
    expect(await source.receives(id)).toEqual(open)
  })

  test('misses no row of a prepared transaction', async () => {
    const source = await makeSource(database)
    const writer = session(database)
    await writer`begin`
    const open = await source.insert(1, writer)
    await writer.unsafe(`PREPARE TRANSACTION '${source.logType}'`)
    await source.insert(1)
    const id = await source.destination()
    await writer.unsafe(`COMMIT PREPARED '${source.logType}'`)
    expect(await source.receives(id)).toEqual(expect.arrayContaining(open))
  })

  test('gets the rows that its own transaction writes after it, and not those before', async () => {
    const source = await makeSource(database)
    await source.insert(2)
    const own = session(database)
    await own`begin`
    await source.insert(1, own)
    const id = await source.destination({}, own)
    const after = await source.insert(1, own)
    await own`commit`
    expect(await source.receives(id)).toEqual(after)
  })

  test('that takes long to commit gets what others commit in the meantime', async () => {
    const source = await makeSource(database)
    const own = session(database)
    await own`begin`
    const id = await source.destination({}, own)
    const meanwhile = await source.insert(2)
    await own`commit`
    expect(await source.receives(id)).toEqual(meanwhile)
  })

  test('under REPEATABLE READ misses nothing that its snapshot did not see', async () => {
    const source = await makeSource(database)
    await source.insert(1)
    const own = session(database)
    await own`begin isolation level repeatable read`
    await own`select 1`
    const unseen = await source.insert(1)
    const id = await source.destination({}, own)
    const after = await source.insert(1)
    await own`commit`
    expect(await source.receives(id)).toEqual([...unseen, ...after])
  })

  test('in one statement with others starts each of them', async () => {
    const source = await makeSource(database)
    await source.insert(1)
    const rows = await sql`
      INSERT INTO spillway.destinations (name, type, log_types)
      SELECT 'many', 'http', ARRAY[${source.logType}] FROM generate_series(1, 3) RETURNING id`
    for (const { id } of rows) {
      expect((await cursorOf(sql, Number(id), source.logType))?.position).toBe('1')
    }
  })

  test('gets a cursor for each log type once, also where one is named twice', async () => {
    const [one, other] = [await makeSource(database), await makeSource(database)]
    const id = await insertDestination(sql, [one.logType, other.logType, one.logType])
    const cursors = await sql`SELECT log_type FROM spillway.cursors WHERE destination_id = ${id}`
    expect(new Set(cursors.map((row) => row.log_type))).toEqual(new Set([one.logType, other.logType]))
    expect(cursors).toHaveLength(2)
  })

  test.each(['beginning', '2026-01-01T00:00:00Z'])(
    'that starts from %s is left to the daemon',
    async (startFrom) => {
      const source = await makeSource(database)
      const id = await source.destination({ start_from: startFrom })
      expect(await cursorOf(sql, id, source.logType)).toBeUndefined()
      expect(await stateOf(sql, id)).toMatchObject({ status: 'active' })
    },
  )

  test('is left to the daemon where the audit tables are in another database', async () => {
    const separate = await createTestDatabase()
    await separate.sql`UPDATE spillway.settings SET separate_source = true`
    const id = await insertDestination(separate.sql, ['request'])
    expect(await cursorOf(separate.sql, id, 'request')).toBeUndefined()
  })

  test.each([
    ['that is not there', 'public.nowhere', 'id'],
    ['without the id column', 'spillway.request_audit_log', 'nr'],
    ['with an id that is no number', 'spillway.sources', 'log_type'],
    ['that is an index', 'spillway.destinations_pkey', 'id'],
    ['that is a sequence', 'spillway.request_audit_log_id_seq', 'id'],
  ])('is inserted although it names a source %s', async (_, relation, idColumn) => {
    const logType = `bad${Math.random().toString(36).slice(2, 10)}`
    await sql`
      INSERT INTO spillway.sources (log_type, relation, id_column, timestamp_column)
      VALUES (${logType}, ${relation}, ${idColumn}, 'at')`
    const id = await insertDestination(sql, [logType, 'action'])
    expect(await cursorOf(sql, id, logType)).toBeUndefined()
    expect(await cursorOf(sql, id, 'action')).toBeDefined()
  })

  test('is inserted although it names a source with a name that is none', async () => {
    const insert = sql`
      INSERT INTO spillway.sources (log_type, relation, timestamp_column) VALUES ('nameless', 'not a name(', 'at')`
    // Servers before 16 refuse the source itself, so that no destination can name it.
    if ((await postgresMajor(sql)) < 16) return expect(insert).rejects.toThrow('invalid name syntax')
    await insert
    const id = await insertDestination(sql, ['nameless', 'action'])
    expect(await cursorOf(sql, id, 'nameless')).toBeUndefined()
    expect(await cursorOf(sql, id, 'action')).toBeDefined()
  })

  test.each(['a.b.c.d', 'other.public.audit'])(
    'cannot be kept from starting by a source named %s: there is none',
    async (relation) => {
      await expect(sql`
      INSERT INTO spillway.sources (log_type, relation, timestamp_column) VALUES ('impossible', ${relation}, 'at')`).rejects.toThrow()
    },
  )

  test('may be inserted by a role with no rights on the audit tables', async () => {
    const source = await makeSource(database)
    await source.insert(2)
    const role = `tenant_${source.logType}`
    await sql.unsafe(`CREATE ROLE ${role}; GRANT USAGE ON SCHEMA spillway TO ${role};
      GRANT SELECT, INSERT, UPDATE ON spillway.destinations TO ${role}`)
    try {
      const own = session(database)
      await own.unsafe(`SET ROLE ${role}`)
      await expect(own.unsafe(`SELECT FROM ${source.relation}`)).rejects.toThrow(/permission denied/)
      const id = await source.destination({}, own)
      await own`UPDATE spillway.destinations SET name = 'renamed' WHERE id = ${id}`
      expect((await cursorOf(sql, id, source.logType))?.position).toBe('2')
    } finally {
      await sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
    }
  })
})

describe('a log type', () => {
  test('that is added later starts at now, and the others go on where they are', async () => {
    const [one, other] = [await makeSource(database), await makeSource(database)]
    const id = await one.destination()
    await one.insert(3)
    await other.insert(4)
    await sql`UPDATE spillway.destinations SET log_types = ${[one.logType, other.logType]} WHERE id = ${id}`
    expect((await cursorOf(sql, id, one.logType))?.position).toBe('0')
    expect((await cursorOf(sql, id, other.logType))?.position).toBe('4')
  })

  test('that is removed loses its cursor', async () => {
    const [one, other] = [await makeSource(database), await makeSource(database)]
    const id = await insertDestination(sql, [one.logType, other.logType])
    await sql`UPDATE spillway.destinations SET log_types = ${[one.logType]} WHERE id = ${id}`
    expect(await cursorOf(sql, id, other.logType)).toBeUndefined()
    expect(await cursorOf(sql, id, one.logType)).toBeDefined()
  })

  test('whose source is registered later starts when it is', async () => {
    const source = await makeSource(database)
    const logType = `${source.logType}-later`
    const id = await insertDestination(sql, [logType])
    expect(await cursorOf(sql, id, logType)).toBeUndefined()
    await source.insert(5)
    await sql`
      INSERT INTO spillway.sources (log_type, relation, timestamp_column)
      VALUES (${logType}, ${source.relation}, 'at')`
    expect((await cursorOf(sql, id, logType))?.position).toBe('5')
  })
})
