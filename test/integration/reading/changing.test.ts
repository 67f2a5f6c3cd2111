import { expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { freshTable, readerOf, sourcePool, watch } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)
const limit = { rows: 99, bytes: 1e9 }
const range = { after: '0', upTo: '99' }

await sql.unsafe('CREATE TYPE public.pair AS (a int)')

/** Each changes what a column's text means; the reader that knew the table before must not read it as before. */
test.each([
  ['from a number to text', 'n int', `1`, `ALTER TABLE %t ALTER n TYPE text USING 'not json'`, 'not json'],
  ['from json to text', 'n json', `'{}'`, `ALTER TABLE %t ALTER n TYPE text USING '{"'`, '{"'],
  ['from bytea to text', 'n bytea', `'\\x00'`, `ALTER TABLE %t ALTER n TYPE text USING '\\x00'`, '\\x00'],
  ['from bigint to numeric', 'n bigint', '1', 'ALTER TABLE %t ALTER n TYPE numeric USING 1.50', '1.50'],
  [
    'to another column of that name',
    'n int',
    '1',
    `ALTER TABLE %t DROP n; ALTER TABLE %t ADD n text DEFAULT '"'`,
    '"',
  ],
  [
    'by a new name',
    'n int, m text',
    `1, 'x'`,
    'ALTER TABLE %t RENAME n TO o; ALTER TABLE %t RENAME m TO n',
    'x',
  ],
  [
    'inside its type',
    'n public.pair[]',
    'ARRAY[ROW(1)]::public.pair[]',
    `ALTER TYPE public.pair ADD ATTRIBUTE b numeric; UPDATE %t SET n = '{"(1,1.50)"}'`,
    [{ a: 1, b: '1.50' }],
  ],
])('a column that changes %s is not read as what it was', async (_, column, value, change, after) => {
  const definition = await freshTable(database, `, ${column}`)
  const { relation } = definition
  const columns = column.split(', ').map((each) => each.split(' ')[0])
  await sql.unsafe(`INSERT INTO ${relation} (${columns}) VALUES (${value})`)
  const before = await readerOf(pool, definition)
  expect((await before.readPage({ orgId: null }, range, limit)).rows).toHaveLength(1)
  const watching = watch(pool, definition)
  await watching.reached('1')
  const known = watching.watcher.reader
  await sql.unsafe(change.replaceAll('%t', relation))
  await expect(before.readPage({ orgId: null }, range, limit)).rejects.toThrow()
  await expect
    .poll(() => watching.watcher.reader !== known && watching.watcher.reader !== undefined)
    .toBe(true)
  const page = await watching.watcher.reader?.readPage({ orgId: null }, range, limit)
  expect(JSON.parse(page?.rows[0]?.event.dataJson ?? '').n).toEqual(after)
})

test('another table by the name is not read as the one before, while that one is still there', async () => {
  const definition = await freshTable(database, ', n int')
  const { relation } = definition
  const reader = await readerOf(pool, definition)
  const bare = relation.replace('public.', '')
  await sql.unsafe(`
    ALTER TABLE ${relation} RENAME TO ${bare}_old;
    CREATE TABLE ${relation} (LIKE public.${bare}_old INCLUDING ALL); ALTER TABLE ${relation} ALTER n TYPE text;
    INSERT INTO ${relation} (id, n) VALUES (1, '{')`)
  await expect(reader.readPage({ orgId: null }, range, limit)).rejects.toThrow(/has changed/)
})
