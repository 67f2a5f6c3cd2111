import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { needsPostgres } from '../../support/server-version.ts'
import { dataOf, writer } from './values.ts'
import { define, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const written = writer(database)
const pool = sourcePool(database.url)

describe('text', () => {
  test('of any characters comes through, alone, in arrays, composites, json and as a name in json', async () => {
    await sql.unsafe(`
      CREATE TYPE public.said AS (t text);
      CREATE TABLE public.texts (id bigserial, at timestamptz, t text, ts text[], r public.said, j json, b jsonb, k jsonb, e jsonb[])`)
    const c0 = Array.from({ length: 31 }, (_, index) => String.fromCharCode(index + 1)).join('')
    const known = [
      c0,
      '\u007f\u0080\u0085\u009f\u00a0\u00ad',
      '\u2028\u2029\u200b\u200d\ufeff',
      '\u202a\u202e\u2066\u2069\u061c',
      'e\u0301 \u1e9b\u0323 \ud55c \u1112\u1161\u11ab',
      '\ufdd0\ufffe\uffff\u{1fffe}\u{10ffff}\ufffd',
      '😀👩‍👩‍👧🏳️‍🌈𝒳',
      '\\u0000 \\ud800 \\" \\\\ " \' ` </script> <!--',
      '',
      'NULL',
      '\r\n',
    ]
    const generated = fc.sample(fc.string({ unit: 'binary', maxLength: 40 }), { seed: 3, numRuns: 300 })
    const texts = [...known, ...generated].map((text) => text.replaceAll('\0', '').toWellFormed())
    await sql`
      INSERT INTO public.texts (t, ts, r, j, b, k, e)
      SELECT t, ARRAY[t, t], ROW(t)::public.said, to_json(t), to_jsonb(t), jsonb_build_object(t, t), ARRAY[to_jsonb(t)]
      FROM unnest(${texts}::text[]) WITH ORDINALITY AS x(t, place) ORDER BY place`
    const rows = await dataOf(database, {
      relation: 'public.texts',
      orgColumn: null,
      excludeColumns: ['id', 'at'],
    })
    expect(rows).toEqual(
      texts.map((t) => ({
        t,
        ts: [t, t],
        r: { t },
        j: t,
        b: t,
        k: JSON.parse(`{${JSON.stringify(t)}:${JSON.stringify(t)}}`),
        e: [t],
      })),
    )
  })
})

describe('json', () => {
  test('with equal keys, odd spaces and escapes that jsonb refuses is what was written', async () => {
    const text = `{ "a" :\t1 ,"a":2,\u0020"\\u0000":"\\ud800", "n": -0.0e-0 }`
    for (const type of ['json', 'json[]']) {
      const literal = type === 'json' ? `'${text}'` : `ARRAY['${text}']::json[]`
      expect(await written(type, literal)).toBe(type === 'json' ? text : `[${text}]`)
    }
  })

  test.each([
    ['jsonb', `(repeat('[', 5000) || repeat(']', 5000))::jsonb`],
    ['jsonb', `(repeat('{"a":', 5000) || '1' || repeat('}', 5000))::jsonb`],
    ['json', `(repeat('[', 5000) || repeat(']', 5000))::json`],
    ['jsonb[]', `ARRAY[(repeat('[', 5000) || repeat(']', 5000))::jsonb]`],
  ])('%s thousands of levels deep arrives', async (type, literal) => {
    const [row] = await sql.unsafe(`SELECT to_json(${literal})::text AS json`)
    const json = await written(type, literal)
    expect(json).toBe(row?.json)
  })

  test('and an array of many megabytes arrive, in a row of up to 16 MB', async () => {
    const big = `(SELECT jsonb_agg(jsonb_build_object('n', g, 's', md5(g::text))) FROM generate_series(1, 200000) g)`
    const json = await written('jsonb', big)
    expect(json.length).toBeGreaterThan(10 * 1024 * 1024)
    expect(JSON.parse(json)).toHaveLength(200_000)
    const numbers = await written(
      'bigint[]',
      'ARRAY(SELECT 9007199254740990 + g FROM generate_series(1, 600000) g)',
    )
    expect(JSON.parse(numbers).slice(0, 3)).toEqual([
      9007199254740991,
      '9007199254740992',
      '9007199254740993',
    ])
    expect(JSON.parse(numbers)).toHaveLength(600_000)
  })
})

/** Types whose JSON is the string that the server's own text is, in the session's settings. */
test.each([
  ['xml', `'<a b="&quot;">ä😀</a>'::xml`],
  ['bit(5)', `B'10101'`],
  ['bit varying', `B''`],
  ['money', `'-1234567.89'::money`],
  ['inet', `'::ffff:1.2.3.4/96'::inet`],
  ['cidr', `'10.0.0.0/8'::cidr`],
  ['macaddr8', `'08:00:2b:01:02:03:04:05'::macaddr8`],
  ['interval', `'-1 year 2 mons -3 days 04:05:06.789'::interval`],
  ['time', `'24:00:00'::time`],
  ['timetz', `'10:30:00.5+05:30'::timetz`],
  ['date', `'4713-01-01 BC'::date`],
  ['date', `'5874897-12-31'::date`],
  ['date', `'-infinity'::date`],
  ['tsvector', `'a fat cat'::tsvector`],
  ['tsquery', `'fat & (rat | cat)'::tsquery`],
  ['point', `'(1.5,-2)'::point`],
  ['polygon', `'((0,0),(1,1))'::polygon`],
  ['int4range', `'empty'::int4range`],
  ['tstzrange', `'["2026-01-01 00:00Z",infinity)'::tstzrange`],
  ['nummultirange', `'{[1.10,2),(3,)}'::nummultirange`],
  ['pg_lsn', `'16/B374D848'::pg_lsn`],
  ['xid8', `'18446744073709551615'::xid8`],
  ['regclass', `'pg_class'::regclass`],
  ['"char"', `'a'::"char"`],
  ['name', `'x'::name`],
  ['jsonpath', `'$.a[*] ? (@ > 1)'::jsonpath`],
  ['numeric', `('1' || repeat('0', 1000) || '.' || repeat('7', 1000))::numeric`],
  ['numeric', `'-Infinity'::numeric`],
])('a %s is the text that the server writes: %s', async (type, literal) => {
  const [row] = await pool.query<{ text: string }>(`SELECT ${literal}::text AS text`)
  expect(JSON.parse(await written(type, literal))).toBe(row?.text)
  // Inside an array it is the same.
  expect(JSON.parse(await written(`${type}[]`, `ARRAY[${literal}]::${type}[]`))).toEqual([row?.text])
})

test.each([
  ['timestamptz', `'0001-01-01 00:00:00Z'`, '0001-01-01T00:00:00Z'],
  ['timestamptz', `'294276-12-31 23:59:59.999999Z'`, '+294276-12-31T23:59:59.999999Z'],
  ['timestamptz', `'4713-01-01 00:00:00Z BC'`, '4713-01-01 00:00:00+00 BC'],
  ['timestamptz', `'2026-11-01 01:30:00 America/New_York'`, '2026-11-01T06:30:00Z'],
  ['timestamp', `'294276-12-31 23:59:59.999999'`, '+294276-12-31T23:59:59.999999'],
])('a %s of %s is %s, alone and in an array', async (type, literal, expected) => {
  expect(JSON.parse(await written(type, literal))).toBe(expected)
  expect(JSON.parse(await written(`${type}[]`, `ARRAY[${literal}]::${type}[]`))).toEqual([expected])
})

describe('a table', () => {
  const noOrg = { orgColumn: null } as const

  test('with generated columns, stored and virtual, tells what they are', async (context) => {
    await needsPostgres(context, sql, 18, 'a virtual generated column')
    await sql.unsafe(`
      CREATE TABLE public.generated (id bigserial, epoch_ms bigint, at timestamptz GENERATED ALWAYS AS (to_timestamp(epoch_ms / 1000.0)) STORED,
        doubled numeric GENERATED ALWAYS AS (epoch_ms * 2.50) VIRTUAL, tags bigint[] GENERATED ALWAYS AS (ARRAY[epoch_ms * 100000]) VIRTUAL);
      INSERT INTO public.generated (epoch_ms) VALUES (1700000000123)`)
    expect(await dataOf(database, { relation: 'public.generated', ...noOrg })).toEqual([
      {
        id: 1,
        epoch_ms: 1700000000123,
        at: '2023-11-14T22:13:20.123Z',
        doubled: '4250000000307.50',
        tags: ['170000000012300000'],
      },
    ])
  })

  test('of nothing but what is left out has empty data', async () => {
    await sql.unsafe(`
      CREATE TABLE public.bare (id bigserial, org_id text, at timestamptz); INSERT INTO public.bare (org_id) VALUES ('a')`)
    expect(
      await dataOf(database, { relation: 'public.bare', excludeColumns: ['id', 'org_id', 'at'] }),
    ).toEqual([{}])
  })

  const wide = [
    ['integer', '1'],
    ['text', `'x'`],
    ['numeric', '1'],
    ['jsonb', 'NULL'],
    ['bigint[]', `NULL`],
  ] as const
  test.each(wide)('of 1,600 columns, PostgreSQL’s most, of %s, arrives', async (type, value) => {
    const relation = `public."wide ${type}"`
    const columns = Array.from({ length: 1_598 }, (_, index) => `c${index} ${type} DEFAULT ${value}`)
    await sql.unsafe(`
      CREATE TABLE ${relation} (id bigserial, at int DEFAULT 1, ${columns.join(', ')});
      INSERT INTO ${relation} DEFAULT VALUES; INSERT INTO ${relation} DEFAULT VALUES`)
    const rows = await dataOf(database, { relation, ...noOrg })
    expect(rows.map((row) => Object.keys(row).length)).toEqual([1_600, 1_600])
    const server = await sql.unsafe(
      `SELECT to_json(t.c0) AS first, to_json(t.c1597) AS last FROM ${relation} t`,
    )
    const told = (of: unknown) => (type === 'numeric' ? String(of) : of)
    expect(rows.map((row) => [row.c0, row.c1597])).toEqual(
      server.map(({ first, last }) => [told(first), told(last)]),
    )
    const excluded = { relation, ...noOrg, excludeColumns: columns.map((each) => each.split(' ')[0] ?? '') }
    expect(await dataOf(database, excluded)).toEqual([
      { id: 1, at: 1 },
      { id: 2, at: 1 },
    ])
  })

  test('without its dropped columns, partitions with another order of columns included', async () => {
    await sql.unsafe(`
      CREATE TABLE public.parted (id bigserial, gone int, at timestamptz, n numeric, big bigint) PARTITION BY RANGE (id);
      CREATE TABLE public.part (big bigint, lost text, n numeric, at timestamptz, id bigint NOT NULL, gone int);
      ALTER TABLE public.part DROP COLUMN lost;
      ALTER TABLE public.parted ATTACH PARTITION public.part FOR VALUES FROM (0) TO (99);
      ALTER TABLE public.parted DROP COLUMN gone;
      INSERT INTO public.parted (n, big) VALUES (1.50, 9007199254740993)`)
    expect(await dataOf(database, { relation: 'public.parted', ...noOrg })).toEqual([
      { id: 1, at: null, n: '1.50', big: '9007199254740993' },
    ])
  })

  test('whose types are named as PostgreSQL’s own are, first in the search path, is not mistaken', async () => {
    await sql.unsafe(`
      CREATE SCHEMA shadow; CREATE TYPE shadow.json AS ENUM ('not json'); CREATE TYPE shadow.bytea AS ENUM ('\\x00');
      CREATE TABLE shadow.t (id bigserial, at timestamptz, j shadow.json, b shadow.bytea, real pg_catalog.bytea, doc pg_catalog.json);
      INSERT INTO shadow.t (j, b, real, doc) VALUES ('not json', '\\x00', '\\x00', '{}')`)
    const url = `${database.url}?search_path=shadow,pg_catalog`
    const reader = await readerOf(sourcePool(url), define({ relation: 'shadow.t', ...noOrg }))
    const { rows } = await reader.readPage(
      { orgId: null },
      { after: '0', upTo: '9' },
      { rows: 9, bytes: 9e6 },
    )
    const data = { id: 1, at: null, j: 'not json', b: '\\x00', real: 'AA==', doc: {} }
    expect(JSON.parse(rows[0]?.event.dataJson ?? '')).toEqual(data)
  })
})
