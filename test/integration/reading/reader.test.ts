import { describe, expect, test } from 'vitest'
import type { Reader } from '../../../src/sources/reader.ts'
import type { Scope } from '../../../src/sources/selection.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { needsPostgres } from '../../support/server-version.ts'
import { freshTable, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)
const all: Scope = { orgId: null }
const megabyte = 1024 * 1024

async function setUp(columns = '') {
  const definition = await freshTable(database, columns)
  const { relation } = definition
  return {
    relation,
    reader: () => readerOf(pool, definition),
    insert: (text: string) => sql.unsafe(`INSERT INTO ${relation} ${text}`),
  }
}

/** Reads a range to its end as a stream does, page after page. */
async function readAll(
  reader: Reader,
  scope: Scope,
  limit: { rows: number; bytes: number },
  upTo = '1000000',
) {
  const pages: { positions: string[]; bytes: number[]; full: boolean }[] = []
  let after = '0'
  for (;;) {
    const page = await reader.readPage(scope, { after, upTo }, limit)
    const positions = page.rows.map(({ position }) => position)
    pages.push({ positions, bytes: page.rows.map(({ event }) => event.dataJson.length), full: page.full })
    if (!page.full) return pages
    after = positions.at(-1) ?? after
  }
}

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => String(from + index))

describe('pages', () => {
  test('hold the rows of a range by rising id, none before and none beyond it', async () => {
    const { insert, reader } = await setUp()
    await insert('(id) SELECT generate_series(12, 1, -1)')
    const page = await (await reader()).readPage(
      all,
      { after: '3', upTo: '9' },
      { rows: 100, bytes: megabyte },
    )
    expect(page.rows.map(({ position }) => position)).toEqual(numbers(4, 9))
    expect(page.full).toBe(false)
  })

  test('hold generated columns that are stored', async () => {
    const { insert, reader } = await setUp(', n int, twice int GENERATED ALWAYS AS (n * 2) STORED')
    await insert('(n) VALUES (21)')
    const { rows } = await (await reader()).readPage(all, { after: '0', upTo: '9' }, { rows: 9, bytes: 900 })
    expect(rows.map(({ event }) => event.dataJson)).toEqual([expect.stringContaining('"n":21,"twice":42}')])
  })

  test('hold generated columns that are virtual', async (context) => {
    await needsPostgres(context, sql, 18, 'a virtual generated column')
    const { insert, reader } = await setUp(', n int, twice int GENERATED ALWAYS AS (n * 2) VIRTUAL')
    await insert('(n) VALUES (21)')
    const { rows } = await (await reader()).readPage(all, { after: '0', upTo: '9' }, { rows: 9, bytes: 900 })
    expect(rows.map(({ event }) => event.dataJson)).toEqual([expect.stringContaining('"n":21,"twice":42}')])
  })

  test('are full at their number of rows and go on where they ended', async () => {
    const { insert, reader } = await setUp()
    await insert('SELECT FROM generate_series(1, 10)')
    const pages = await readAll(await reader(), all, { rows: 4, bytes: megabyte })
    expect(pages.map(({ positions, full }) => [positions.length, full])).toEqual([
      [4, true],
      [4, true],
      [2, false],
    ])
    expect(pages.flatMap(({ positions }) => positions)).toEqual(numbers(1, 10))
  })

  const large = [
    [
      'text that does not compress',
      'text',
      `(SELECT string_agg(md5(g::text || s::text), '') FROM generate_series(1, 8000) s)`,
    ],
    ['text that compresses well', 'text', `repeat('a', 262144)`],
    ['bytea', 'bytea', `decode(repeat('ab', 131072), 'hex')`],
    ['jsonb that compresses well', 'jsonb', `jsonb_build_object('a', repeat('b', 262144))`],
    ['jsonb with long numbers', 'jsonb', `'[1e99999, 1e99999, 1e99999]'::jsonb`],
    ['json that compresses well', 'json', `json_build_object('a', repeat('b', 262144))`],
    ['an array that compresses well', 'text[]', `array_fill('some text'::text, ARRAY[20000])`],
    ['a numeric with a large exponent', 'numeric', `1e131000::numeric`],
    ['characters of fixed length', 'char(262144)', `'a'`],
    ['xml', 'xml', `xmlparse(CONTENT '<a>' || repeat('b', 262144) || '</a>')`],
    ['bits', 'bit varying', `repeat('10', 131072)::bit varying`],
  ] as const

  test.each(large)(
    'stay within their bytes, by one row at most, whatever the rows hold: %s',
    async (_, type, value) => {
      const { insert, reader } = await setUp(`, payload ${type}`)
      await insert(`(payload) SELECT ${value} FROM generate_series(1, 12) g`)
      const limit = megabyte / 2
      const pages = await readAll(await reader(), all, { rows: 1_000, bytes: limit })
      expect(pages.flatMap(({ positions }) => positions)).toEqual(numbers(1, 12))
      for (const { bytes } of pages) {
        const withoutLast = bytes.slice(0, -1).reduce((sum, length) => sum + length, 0)
        // Keys, quotes and hex or base64 come on top of what the database counts.
        expect(withoutLast).toBeLessThan(limit * 1.5)
      }
    },
  )

  test('turn from small rows to large ones within a page', async () => {
    const { insert, reader } = await setUp(', payload text')
    await insert(
      `(payload) SELECT repeat('x', CASE WHEN g > 5 THEN 1048576 ELSE 10 END) FROM generate_series(1, 9) g`,
    )
    const pages = await readAll(await reader(), all, { rows: 100, bytes: megabyte })
    expect(pages.map(({ positions }) => positions)).toEqual([numbers(1, 6), ['7'], ['8'], ['9'], []])
  })

  test('hold their first row however large it is', async () => {
    const { insert, reader } = await setUp(', payload text')
    await insert(`(payload) VALUES (repeat('x', 1048576)), ('y')`)
    const pages = await readAll(await reader(), all, { rows: 100, bytes: 1 })
    expect(pages.map(({ positions }) => positions)).toEqual([['1'], ['2'], []])
  })

  test('hold a row that was deleted meanwhile no longer, and miss none for it', async () => {
    const { insert, reader, relation } = await setUp()
    await insert('SELECT FROM generate_series(1, 6)')
    const one = await reader()
    const first = await one.readPage(all, { after: '0', upTo: '6' }, { rows: 2, bytes: megabyte })
    await sql.unsafe(`DELETE FROM ${relation} WHERE id IN (1, 2, 3)`)
    const second = await one.readPage(
      all,
      { after: first.rows.at(-1)?.position ?? '', upTo: '6' },
      { rows: 9, bytes: 9e6 },
    )
    expect(second.rows.map(({ position }) => position)).toEqual(['4', '5', '6'])
  })
})

describe('cursors that are due', () => {
  test('are those with a row of theirs between them and the horizon, which is named', async () => {
    const { insert, reader } = await setUp()
    await insert(`(org_id) VALUES ('a'), ('b'), ('a'), ('c')`)
    const cursor = (orgId: string | null, position: string) => ({ scope: { orgId }, position })
    const cursors = [
      cursor('a', '0'),
      cursor('a', '3'),
      cursor('b', '1'),
      cursor('b', '2'),
      cursor('c', '0'),
      cursor(null, '3'),
      cursor(null, '2'),
    ]
    const due = new Map([
      [0, '1'],
      [2, '2'],
      [6, '3'],
    ])
    expect(await (await reader()).due(cursors, '3')).toEqual(due)
    expect(await (await reader()).due([], '3')).toEqual(new Map())
  })
})

describe('where to start', () => {
  test('at the beginning is before the first row, also below zero', async () => {
    const { insert, reader } = await setUp()
    const one = await reader()
    expect(await one.beginning()).toBe('0')
    await insert('(id) VALUES (5), (9)')
    expect(await one.beginning()).toBe('0')
    await insert('(id) VALUES (-3)')
    expect(await one.beginning()).toBe('-4')
  })

  test('at an instant is before the first row stamped then, to the microsecond', async () => {
    const { insert, reader } = await setUp()
    await insert(
      `(at) VALUES ('2026-01-01T00:00:00Z'), ('2026-01-02T00:00:00.000001Z'), ('2026-01-03T00:00:00Z')`,
    )
    const one = await reader()
    expect(await one.before('2025-01-01T00:00:00Z')).toBe('0')
    expect(await one.before('2026-01-02T00:00:00.000001Z')).toBe('1')
    expect(await one.before('2026-01-02T00:00:00.000002Z')).toBe('2')
    expect(await one.before('2026-01-03T02:00:00+02:00')).toBe('2')
    expect(await one.before('2026-01-03T00:00:01Z')).toBeUndefined()
  })
})

test('a role that row-level security hides rows from gets an error, not a table with holes', async () => {
  const definition = await freshTable(database)
  const role = `reader_${definition.relation.slice(-8)}`
  await sql.unsafe(`
    CREATE ROLE ${role} LOGIN PASSWORD 'x'; GRANT SELECT ON ${definition.relation} TO ${role};
    ALTER TABLE ${definition.relation} ENABLE ROW LEVEL SECURITY;
    INSERT INTO ${definition.relation} DEFAULT VALUES`)
  whenDone(async () => {
    await sql.unsafe(`DROP OWNED BY ${role}; DROP ROLE ${role}`)
  })
  const url = new URL(database.url)
  url.username = role
  url.password = 'x'
  const reader = await readerOf(sourcePool(url.href), definition)
  await expect(reader.count(all, { after: '0', upTo: '9' })).rejects.toThrow(/row-level security/)
})
