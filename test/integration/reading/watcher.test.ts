import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { define, freshTable, makeTable, sourcePool, watch } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)

function session(): postgres.Sql {
  const own = postgres(database.url, { max: 1, onnotice: () => {} })
  whenDone(() => own.end())
  return own
}

describe('a watcher', () => {
  test('says that it is ready when the horizon is known, and not before', async () => {
    const definition = await freshTable(database)
    const writer = session()
    await writer`begin`
    await writer.unsafe(`INSERT INTO ${definition.relation} DEFAULT VALUES`)
    const watching = watch(pool, definition)
    await watching.looked(5)
    expect(watching.ready).toEqual([])
    await writer`commit`
    await watching.reached('0')
    await watching.reached('1')
    expect(watching.ready).toEqual([expect.stringMatching(/^[01]$/)])
  })

  test('is ready at once with a horizon from a former run', async () => {
    const definition = await freshTable(database)
    await sql.unsafe(`INSERT INTO ${definition.relation} DEFAULT VALUES`)
    const writer = session()
    await writer`begin`
    await writer.unsafe(`INSERT INTO ${definition.relation} DEFAULT VALUES`)
    await sql.unsafe(`INSERT INTO ${definition.relation} DEFAULT VALUES`)
    const watching = watch(pool, definition, '1', { cursor: '1' })
    await watching.looked(5)
    expect(watching.ready).toEqual(['1'])
    expect(watching.watcher.horizon).toBe('1')
    await writer`rollback`
    await watching.reached('3')
  })

  test('takes no horizon from a former life of the table', async () => {
    const definition = await freshTable(database)
    await sql.unsafe(`INSERT INTO ${definition.relation} DEFAULT VALUES`)
    const watching = watch(pool, definition, '900')
    await watching.reached('1')
    expect(watching.watcher.horizon).toBe('1')
  })

  test('says once that its source is invalid, and reads it when it is mended', async () => {
    const watching = watch(pool, define({ relation: 'public.later' }))
    await expect.poll(() => watching.watcher.problem).toContain('public.later')
    expect(watching.watcher.reader).toBeUndefined()
    await makeTable(sql, 'later')
    await watching.reached('0')
    expect(watching.watcher.problem).toBeUndefined()
    expect(watching.lines.all.map(({ code }) => code)).toEqual(['source.invalid', 'source.recovered'])
  })
})

describe('a watcher fences what is written now', () => {
  test('when the table is replaced by another one of its name', async () => {
    const definition = await freshTable(database)
    const { relation } = definition
    await sql.unsafe(`INSERT INTO ${relation} SELECT FROM generate_series(1, 5)`)
    const watching = watch(pool, definition)
    await watching.reached('5')
    const bare = relation.replace('public.', '')
    await sql.begin(async (swap) => {
      await swap.unsafe(`
        CREATE TABLE public.${bare}_new (LIKE ${relation} INCLUDING ALL);
        INSERT INTO public.${bare}_new SELECT * FROM ${relation};
        SELECT setval(pg_get_serial_sequence('public.${bare}_new', 'id'), 5);
        DROP TABLE ${relation};
        ALTER TABLE public.${bare}_new RENAME TO ${bare}`)
    })
    const writer = session()
    await writer`begin`
    await writer.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
    await sql.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
    await watching.looked(10)
    expect(watching.watcher.horizon).toBe('5')
    await writer`commit`
    await watching.reached('7')
  })

  test('when its ids come from another sequence', async () => {
    const definition = await freshTable(database)
    const { relation } = definition
    const watching = watch(pool, definition)
    await watching.reached('0')
    await sql.unsafe(`
      CREATE SEQUENCE ${relation}_other;
      ALTER TABLE ${relation} ALTER id DROP IDENTITY;
      ALTER TABLE ${relation} ALTER id SET DEFAULT nextval('${relation}_other')`)
    const writer = session()
    await writer`begin`
    await writer.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
    await sql.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
    await watching.looked(10)
    expect(watching.watcher.horizon).toBe('0')
    await writer`commit`
    await watching.reached('2')
  })

  test('when a partition is written to that was made later', async () => {
    const relation = 'public.parted'
    await sql.unsafe(`
      CREATE TABLE ${relation} (id bigint, org_id text, at timestamptz) PARTITION BY LIST (org_id);
      CREATE TABLE ${relation}_a PARTITION OF ${relation} FOR VALUES IN ('a')`)
    const watching = watch(pool, define({ relation }))
    await watching.reached('0')
    await sql.unsafe(`CREATE TABLE ${relation}_b PARTITION OF ${relation} FOR VALUES IN ('b')`)
    const writer = session()
    await writer`begin`
    await writer.unsafe(`INSERT INTO ${relation}_b VALUES (1, 'b')`)
    await sql.unsafe(`INSERT INTO ${relation}_a VALUES (2, 'a')`)
    await watching.looked(10)
    expect(watching.watcher.horizon).toBe('0')
    await writer`commit`
    await watching.reached('2')
  })

  test('and refuses a sequence that was given a cache under way', async () => {
    const definition = await freshTable(database)
    const watching = watch(pool, definition)
    await watching.reached('0')
    await sql.unsafe(`ALTER SEQUENCE ${definition.relation}_id_seq CACHE 10`)
    await expect.poll(() => watching.watcher.problem).toContain('CACHE 10')
    expect(watching.watcher.reader).toBeUndefined()
  })

  test('and reads a column that was added under way', async () => {
    const definition = await freshTable(database)
    const { relation } = definition
    const watching = watch(pool, definition)
    await watching.reached('0')
    await sql.unsafe(`ALTER TABLE ${relation} ADD COLUMN extra text`)
    await sql.unsafe(`INSERT INTO ${relation} (extra) VALUES ('there')`)
    await watching.reached('1')
    const page = await watching.watcher.reader?.readPage(
      { orgId: null },
      { after: '0', upTo: '1' },
      { rows: 10, bytes: 1_000 },
    )
    expect(page?.rows[0]?.event.dataJson).toContain('"extra":"there"')
  })
})
