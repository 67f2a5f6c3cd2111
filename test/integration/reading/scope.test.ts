import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import type { Scope } from '../../../src/sources/selection.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { freshTable, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)
const all: Scope = { orgId: null }
const megabyte = 1024 * 1024

function session(): postgres.Sql {
  const own = postgres(database.url, { max: 1, onnotice: () => {} })
  whenDone(() => own.end())
  return own
}

async function setUp() {
  const definition = await freshTable(database)
  const { relation } = definition
  return {
    relation,
    reader: () => readerOf(pool, definition),
    insert: (text: string) => sql.unsafe(`INSERT INTO ${relation} ${text}`),
  }
}

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => String(from + index))

describe('an org’s scope', () => {
  const orgs = `(org_id) VALUES ('a'), ('b'), (NULL), ('a'), (''), ('A'), ('a '), ('%')`

  test.each([
    ['a', ['1', '4']],
    ['b', ['2']],
    ['', ['5']],
    ['A', ['6']],
    ['a ', ['7']],
    ['%', ['8']],
    ['c', []],
    ["' OR true --", []],
    [null, numbers(1, 8)],
  ])('of %j holds its own rows and no others', async (orgId, expected) => {
    const { insert, reader } = await setUp()
    await insert(orgs)
    const one = await reader()
    const range = { after: '0', upTo: '8' }
    const page = await one.readPage({ orgId }, range, { rows: 100, bytes: megabyte })
    expect(page.rows.map(({ position }) => position)).toEqual(expected)
    expect(await one.count({ orgId }, range)).toBe(expected.length)
    const due = await one.due([{ scope: { orgId }, position: '0' }], '8')
    expect([...due]).toEqual(expected[0] === undefined ? [] : [[0, expected[0]]])
    const there = await one.newRows(range)
    expect(orgId === null ? there?.first : there?.orgs?.get(orgId)).toBe(expected[0])
  })

  test('names the org on the event as the row has it', async () => {
    const { insert, reader } = await setUp()
    await insert(orgs)
    const page = await (await reader()).readPage(all, { after: '0', upTo: '3' }, { rows: 9, bytes: megabyte })
    expect(page.rows.map(({ event }) => event.orgId)).toEqual(['a', 'b', null])
  })

  test('holds nothing where the source has no org column', async () => {
    const definition = { ...(await freshTable(database)), orgColumn: null }
    await sql.unsafe(`INSERT INTO ${definition.relation} (org_id) VALUES ('a')`)
    const reader = await readerOf(pool, definition)
    const range = { after: '0', upTo: '1' }
    expect((await reader.readPage({ orgId: 'a' }, range, { rows: 9, bytes: 9 })).rows).toEqual([])
    expect(await reader.count({ orgId: 'a' }, range)).toBe(0)
    expect(await reader.due([{ scope: { orgId: 'a' }, position: '0' }], '1')).toEqual(new Map())
    expect((await reader.readPage(all, range, { rows: 9, bytes: 9 })).rows).toHaveLength(1)
    expect(await reader.newRows(range)).toEqual({ orgs: undefined, first: '1' })
    expect(await reader.newRows({ after: '1', upTo: '5' })).toBeNull()
  })

  const id = '0b9c1d3e-0000-4000-8000-00000000000a'
  test.each([
    ['uuid', id, `'${id}'`, [id.toUpperCase(), 'acme', '']],
    ['integer', '7', '7', ['07', 'acme', '99999999999999999999', '']],
    ['bigint', '-7', '-7', ['7', '- 7', '']],
    ['varchar(20)', 'acme', `'acme'`, ['ACME', 'acme ']],
    ['char(10)', 'acme', `'acme'`, ['ACME']],
  ])(
    'finds a %s by its text, and a text that is none finds nothing and hinders nobody',
    async (type, own, literal, others) => {
      const { reader, relation } = await setUp()
      await sql.unsafe(`ALTER TABLE ${relation} ALTER org_id TYPE ${type} USING NULL`)
      await sql.unsafe(`INSERT INTO ${relation} (org_id) VALUES (${literal}), (NULL)`)
      const one = await reader()
      const range = { after: '0', upTo: '2' }
      const limit = { rows: 9, bytes: megabyte }
      expect((await one.readPage({ orgId: own }, range, limit)).rows.map(({ position }) => position)).toEqual(
        ['1'],
      )
      for (const orgId of others) {
        expect((await one.readPage({ orgId }, range, limit)).rows).toEqual([])
        expect(await one.count({ orgId }, range)).toBe(0)
      }
      const cursors = [...others, own].map((orgId) => ({ scope: { orgId }, position: '0' }))
      expect(await one.due(cursors, '2')).toEqual(new Map([[others.length, '1']]))
      const orgs = new Map([
        [own, '1'],
        [null, '2'],
      ])
      expect(await one.newRows(range)).toEqual({ orgs, first: '1' })
      expect(await one.newRows({ after: '2', upTo: '5' })).toBeNull()
    },
  )
})

describe('a start mark', () => {
  test('leaves out what was there before it and takes in what was still open, savepoints and all', async () => {
    const { insert, reader, relation } = await setUp()
    await insert(`(org_id) VALUES ('before'), ('before')`)
    const [open, prepared] = [session(), session()]
    await open`begin`
    await open.unsafe(`INSERT INTO ${relation} (org_id) VALUES ('open')`)
    await open`savepoint one`
    await open.unsafe(`INSERT INTO ${relation} (org_id) VALUES ('rolled back')`)
    await open`rollback to savepoint one`
    await open`savepoint two`
    await open.unsafe(`INSERT INTO ${relation} (org_id) VALUES ('in a savepoint')`)
    await prepared`begin`
    await prepared.unsafe(`SELECT nextval('${relation}_id_seq')`)
    await insert(`(org_id) VALUES ('top')`)
    // The oldest open one. The trigger takes the oldest of the whole server, which other tests share.
    const [mark] = await open`SELECT pg_current_xact_id()::text AS xid`
    const start = { kind: 'ids', xid: String(mark?.xid), until: '7', seen: '{}' } as const
    await open`commit`
    await prepared.unsafe(`INSERT INTO ${relation} (id, org_id) VALUES (6, 'drew before')`)
    await prepared`commit`
    await insert(`(org_id) VALUES ('after')`)
    const one = await reader()
    const scope = { orgId: null, start }
    const page = await one.readPage(scope, { after: '0', upTo: '9' }, { rows: 9, bytes: megabyte })
    const found = page.rows.map(({ event }) => event.orgId)
    expect(found).toEqual(expect.arrayContaining(['open', 'in a savepoint', 'drew before', 'after']))
    expect(found).not.toContain('before')
    expect(found).not.toContain('rolled back')
    expect(await one.count(scope, { after: '0', upTo: '9' })).toBe(found.length)
  })

  test('leaves out frozen rows', async () => {
    const { insert, reader, relation } = await setUp()
    await insert('SELECT FROM generate_series(1, 3)')
    await sql.unsafe(`VACUUM (FREEZE) ${relation}`)
    const [mark] = await sql`SELECT pg_current_xact_id()::text AS xid`
    const scope = {
      orgId: null,
      start: { kind: 'ids', xid: String(mark?.xid), until: '3', seen: '{}' },
    } as const
    expect(await (await reader()).count(scope, { after: '0', upTo: '9' })).toBe(0)
  })

  test('compares across the wrap of 32-bit transaction ids', async () => {
    const { insert, reader, relation } = await setUp()
    await insert('DEFAULT VALUES')
    const [row] = await sql.unsafe<{ xmin: string }[]>(`SELECT xmin::text FROM ${relation}`)
    const xmin = BigInt(row?.xmin ?? 0)
    const one = await reader()
    const newer = (xid: bigint) =>
      one.count(
        { orgId: null, start: { kind: 'ids', xid: String(xid), until: '5', seen: '{}' } },
        { after: '0', upTo: '5' },
      )
    for (const epoch of [0n, 1n, 7n]) {
      const full = (epoch << 32n) + xmin
      expect(await newer(full)).toBe(1)
      expect(await newer(full + 1n)).toBe(0)
      if (full > 0n) expect(await newer(full - 1n)).toBe(1)
    }
    // A mark just after the wrap is newer than a row just before it.
    expect(await newer((1n << 32n) + 3n)).toBe(xmin < 2n ** 31n && xmin >= 3n ? 1 : 0)
    expect(await newer((1n << 32n) - 10n)).toBe(1)
  })

  test('leaves out the rows that were seen when it began, whatever their transaction', async () => {
    const { insert, reader } = await setUp()
    const [mark] = await sql`SELECT pg_current_xact_id()::text AS xid`
    await insert('SELECT FROM generate_series(1, 6)')
    const scope = {
      orgId: null,
      start: { kind: 'ids', xid: String(mark?.xid), until: '5', seen: '{[1,3),[4,5)}' },
    } as const
    const page = await (await reader()).readPage(
      scope,
      { after: '0', upTo: '9' },
      { rows: 9, bytes: megabyte },
    )
    expect(page.rows.map(({ position }) => position)).toEqual(['3', '5', '6'])
  })

  test('works on a partitioned table', async () => {
    const definition = await freshTable(database)
    const relation = `${definition.relation}_parted`
    await sql.unsafe(`
      CREATE TABLE ${relation} (id bigint GENERATED BY DEFAULT AS IDENTITY, org_id text, at timestamptz)
        PARTITION BY RANGE (id);
      CREATE TABLE ${relation}_1 PARTITION OF ${relation} FOR VALUES FROM (0) TO (3);
      CREATE TABLE ${relation}_2 PARTITION OF ${relation} FOR VALUES FROM (3) TO (100);
      INSERT INTO ${relation} SELECT FROM generate_series(1, 5)`)
    const [mark] = await sql`SELECT pg_current_xact_id()::text AS xid`
    await sql.unsafe(`INSERT INTO ${relation} DEFAULT VALUES`)
    const reader = await readerOf(pool, { ...definition, relation })
    const scope = {
      orgId: null,
      start: { kind: 'ids', xid: String(mark?.xid), until: '6', seen: '{}' },
    } as const
    const page = await reader.readPage(scope, { after: '0', upTo: '9' }, { rows: 9, bytes: megabyte })
    expect(page.rows.map(({ position }) => position)).toEqual(['6'])
  })
})

describe('rows that are named by their ids', () => {
  test('come in the source’s order, of the org only, and what is no id has no row', async () => {
    const { reader, insert } = await setUp()
    await insert(`(org_id) VALUES ('a'), ('b'), ('a'), ('a'), ('a')`)
    const found = async (scope: Scope, ids: string[], limit = { rows: 10, bytes: megabyte }) => {
      const { rows, full } = await (await reader()).readRows(scope, ids, limit)
      return { ids: rows.map(({ event }) => event.id.split(':')[1]), full }
    }
    const wanted = ['4', '2', '1', '99', 'x', '9223372036854775808', "1' OR true"]
    expect(await found({ orgId: 'a' }, wanted)).toEqual({ ids: ['1', '4'], full: false })
    expect(await found(all, wanted)).toEqual({ ids: ['1', '2', '4'], full: false })
    expect(await found(all, wanted, { rows: 10, bytes: 1 })).toEqual({ ids: ['1'], full: true })
    expect(await found(all, [])).toEqual({ ids: [], full: false })
  })
})

test('a time takes its beginning in, leaves its end out, and has no row without a timestamp', async () => {
  const { reader, insert, relation } = await setUp()
  await sql.unsafe(`ALTER TABLE ${relation} ALTER at DROP NOT NULL`)
  await insert(`(at) VALUES ('2026-01-01T10:00Z'), ('2026-01-01T11:00Z'), ('2026-01-01T12:00Z'), (NULL),
                ('2026-01-01T11:59:59.999999Z'), ('2026-01-01T09:59:59.999999Z')`)
  const read = async (stamped: Scope['stamped']) => {
    const scope = { ...all, ...(stamped && { stamped }) }
    const range = { after: '0', upTo: '100' }
    const found = await reader()
    const { rows } = await found.readPage(scope, range, { rows: 100, bytes: megabyte })
    expect(await found.count(scope, range)).toBe(rows.length)
    return rows.map(({ position }) => position)
  }
  const since = '2026-01-01 10:00:00+00'
  expect(await read({ since, until: '2026-01-01 12:00:00+00' })).toEqual(['1', '2', '5'])
  expect(await read({ since })).toEqual(['1', '2', '3', '5'])
  expect(await read(undefined)).toHaveLength(6)
})
