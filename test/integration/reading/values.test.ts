import { expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { writer } from './values.ts'
import { define, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)

const written = writer(database)

test.each([
  ['smallint', '-32768', '-32768'],
  ['integer', '2147483647', '2147483647'],
  ['bigint', '9007199254740991', '9007199254740991'],
  ['bigint', '9007199254740992', '"9007199254740992"'],
  ['bigint', '-9007199254740991', '-9007199254740991'],
  ['bigint', '-9223372036854775808', '"-9223372036854775808"'],
  ['numeric', '123456789012345678901234567890.123456789', '"123456789012345678901234567890.123456789"'],
  ['numeric(10,2)', '1.10', '"1.10"'],
  ['numeric', `'NaN'`, '"NaN"'],
  ['real', '0.1', '0.1'],
  ['double precision', '0.1::float8 + 0.2::float8', '0.30000000000000004'],
  ['double precision', '1e300', '1e+300'],
  ['double precision', '-5e-324', '-5e-324'],
  ['double precision', `'NaN'`, '"NaN"'],
  ['double precision', `'-Infinity'`, '"-Infinity"'],
  ['boolean', 'true', 'true'],
  ['boolean', 'false', 'false'],
  ['text', `E'a"b\\\\c\\n\\t\\u2028 ä😀'`, JSON.stringify('a"b\\c\n\t\u2028 ä😀')],
  ['varchar(5)', `'ab'`, '"ab"'],
  ['bytea', `'\\x00ff10'`, '"AP8Q"'],
  ['bytea', `''`, '""'],
  ['uuid', `'0B9C1D3E-0000-4000-8000-00000000000A'`, '"0b9c1d3e-0000-4000-8000-00000000000a"'],
  ['inet', `'10.0.0.1/8'`, '"10.0.0.1/8"'],
  ['date', `'2026-03-01'`, '"2026-03-01"'],
  ['interval', `'1 day 2 hours'`, '"P1DT2H"'],
  ['timestamptz', `'2026-03-01 12:00:00.123456+05:30'`, '"2026-03-01T06:30:00.123456Z"'],
  ['timestamptz', `'2026-03-01 12:00:00Z'`, '"2026-03-01T12:00:00Z"'],
  ['timestamptz', `'0044-03-15 00:00:00Z BC'`, '"0044-03-15 00:00:00+00 BC"'],
  ['timestamptz', `'12026-03-01 00:00:00Z'`, '"+012026-03-01T00:00:00Z"'],
  ['timestamptz', `'infinity'`, '"infinity"'],
  ['timestamptz', `'-infinity'`, '"-infinity"'],
  ['timestamp', `'2026-03-01 12:00:00.5'`, '"2026-03-01T12:00:00.5"'],
  ['jsonb', `'{"b": [1, 2.50], "a": "x\\ny"}'`, '{"a": "x\\ny", "b": [1, 2.50]}'],
  ['jsonb', `'123456789012345678901234567890'`, '123456789012345678901234567890'],
  ['jsonb', `'null'`, 'null'],
  ['json', `E'{"b":1,\\r\\n "a":2}'`, '{"b":1,   "a":2}'],
  ['text[]', `ARRAY['a"b', NULL, 'c,d']`, '["a\\"b",null,"c,d"]'],
  ['integer[]', `'{{1,2},{3,4}}'`, '[[1,2],[3,4]]'],
  ['int4range', `'[1,5)'`, '"[1,5)"'],
  ['text', 'NULL', 'null'],
  ['jsonb', 'NULL', 'null'],
  ['text[]', 'NULL', 'null'],
])('a %s of %s travels as %s', async (type, literal, expected) => {
  expect(await written(type, literal)).toBe(expected)
})

test('domains, enums and composites travel as what they are made of', async () => {
  await sql.unsafe(`
    CREATE DOMAIN public.big AS bigint; CREATE TYPE public.mood AS ENUM ('calm', 'not so calm');
    CREATE TYPE public.pair AS (a int, b text)`)
  expect(await written('public.big', '9223372036854775807')).toBe('"9223372036854775807"')
  expect(await written('public.mood', `'not so calm'`)).toBe('"not so calm"')
  expect(await written('public.pair', `ROW(1, 'x"y')`)).toBe('{"a":1,"b":"x\\"y"}')
})

test('an event says its id, org and instant although their columns are left out of the data', async () => {
  await sql.unsafe(`
    CREATE TABLE "Odd ""Table" ("row Id" serial, "org" text, "when" timestamp, kept int);
    INSERT INTO "Odd ""Table" (org, "when", kept) VALUES ('acme', '2026-03-01 12:00:00.123456', 1), (NULL, NULL, 2),
      ('acme', 'infinity', 3)`)
  const definition = define({
    logType: 'odd',
    relation: 'public."Odd ""Table"',
    idColumn: 'row Id',
    orgColumn: 'org',
    timestampColumn: 'when',
    excludeColumns: ['row Id', 'org', 'when'],
  })
  const reader = await readerOf(pool, definition)
  const { rows } = await reader.readPage({ orgId: null }, { after: '0', upTo: '9' }, { rows: 9, bytes: 900 })
  const none = { timestamp: '1970-01-01T00:00:00Z', timestampMs: 0 }
  expect(rows.map(({ event }) => event)).toMatchObject([
    {
      id: 'odd:1',
      logType: 'odd',
      timestamp: '2026-03-01T12:00:00.123456Z',
      timestampMs: Date.parse('2026-03-01T12:00:00.123Z'),
      orgId: 'acme',
      dataJson: '{"kept":1}',
    },
    { id: 'odd:2', logType: 'odd', ...none, orgId: null, dataJson: '{"kept":2}' },
    { id: 'odd:3', logType: 'odd', ...none, orgId: 'acme', dataJson: '{"kept":3}' },
  ])
})
