/** What the tests of values share: a value goes into a table, and comes out as the text of its JSON. */
import { randomBytes } from 'node:crypto'
import { expect } from 'vitest'
import type { SourceDefinition } from '../../../src/sources/source.ts'
import type { TestDatabase } from '../../support/postgres.ts'
import { define, readerOf, sourcePool } from './watching.ts'

/** What a server's or a role's own settings may be must not show. */
const unusualSettings = `
  DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET DateStyle = ''SQL, DMY''', current_database());
    EXECUTE format('ALTER DATABASE %I SET IntervalStyle = ''postgres_verbose''', current_database());
    EXECUTE format('ALTER DATABASE %I SET TimeZone = ''America/New_York''', current_database());
    EXECUTE format('ALTER DATABASE %I SET bytea_output = ''escape''', current_database());
    EXECUTE format('ALTER DATABASE %I SET extra_float_digits = -15', current_database());
    EXECUTE format('ALTER DATABASE %I SET client_encoding = ''LATIN1''', current_database());
  END $$`

/** One value of a type → the text of its JSON in the event. Call it at the top of a file. */
export function writer({ sql, url }: TestDatabase): (type: string, literal: string) => Promise<string> {
  const settings = sql.unsafe(unusualSettings).execute()
  const pool = sourcePool(url)
  return async (type, literal) => {
    await settings
    const table = `"values ${randomBytes(8).toString('hex')}"`
    await sql.unsafe(`
      CREATE TABLE ${table} ("rowId" bigserial, "createdAt" timestamptz DEFAULT now(), "theValue" ${type});
      INSERT INTO ${table} ("theValue") VALUES (${literal})`)
    const definition = define({
      relation: table,
      idColumn: 'rowId',
      timestampColumn: 'createdAt',
      orgColumn: null,
      excludeColumns: ['rowId', 'createdAt'],
    })
    const reader = await readerOf(pool, definition)
    const { rows } = await reader.readPage({ orgId: null }, { after: '0', upTo: '9' }, { rows: 9, bytes: 9 })
    const json = rows[0]?.event.dataJson ?? ''
    JSON.parse(json)
    expect(json.startsWith('{"theValue":')).toBe(true)
    expect(json).not.toMatch(/[\r\n]/)
    return json.slice('{"theValue":'.length, -1)
  }
}

/** The data of a table's rows, each parsed, by rising id. */
export async function dataOf(
  { url }: TestDatabase,
  changes: Partial<SourceDefinition>,
): Promise<Record<string, unknown>[]> {
  const reader = await readerOf(sourcePool(url), define(changes))
  const limit = { rows: 1_000, bytes: 1e9 }
  const { rows } = await reader.readPage({ orgId: null }, { after: '-99', upTo: '999999' }, limit)
  return rows.map(({ event }) => JSON.parse(event.dataJson))
}
