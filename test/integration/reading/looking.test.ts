/** The two statements of a look: what the first has seen counts only if the source is what it was when the second one asks. */
import { describe, expect, test } from 'vitest'
import { connectSource, type SourceSql } from '../../../src/db/client.ts'
import { resolveSource } from '../../../src/sources/catalog.ts'
import { follow } from '../../../src/sources/follower.ts'
import { Reader } from '../../../src/sources/reader.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { define, freshTable } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database

/** A follower on one connection, and what happens right after each statement of a look. */
async function followed(definition: ReturnType<typeof define>) {
  const pool = connectSource(database.url, { applicationName: 'spillway reader', max: 1 })
  whenDone(() => pool.end())
  const source = await resolveSource(pool, definition)
  const after: (() => Promise<unknown>)[] = []
  const watched: SourceSql = {
    ...pool,
    async query<Row extends object>(...statement: Parameters<SourceSql['query']>) {
      const rows = await pool.query<Row>(...statement)
      await after.shift()?.()
      return rows
    },
  }
  const memory = { horizon: undefined, cursor: undefined, trace: undefined }
  const follower = follow({ sql: watched, source, reader: new Reader(pool, source), memory })
  return { pool, follower, after }
}

const changes = [
  ['a column that is added', (name: string) => `ALTER TABLE ${name} ADD COLUMN more text`],
  ['a table that begins anew', (name: string) => `TRUNCATE ${name} RESTART IDENTITY`],
  [
    'a table that is replaced',
    (name: string) => `ALTER TABLE ${name} RENAME TO former_${name.split('.')[1]}`,
  ],
] as const

describe.each(['id', 'xact'] as const)('in the order of %s', (ordering) => {
  test.each(changes)('%s between the two is seen', async (_, change) => {
    const table = await freshTable(database, ', xact xid8 NOT NULL DEFAULT pg_current_xact_id()')
    await sql.unsafe(
      `CREATE INDEX ON ${table.relation} (xact, id); INSERT INTO ${table.relation} (org_id) VALUES ('acme')`,
    )
    const definition = define({ ...table, ...(ordering === 'xact' && { ordering, xactColumn: 'xact' }) })
    const { follower, after } = await followed(definition)
    expect(await follower.look(true)).toMatchObject({ kind: 'seen' })
    const { position } = follower
    after.push(() => sql.unsafe(change(table.relation)))
    expect(await follower.look(true)).toEqual({ kind: 'changed' })
    expect(follower.position, 'what was seen before').toBe(position)
  })
})

test('the plan is kept of the statement that reads the catalogue, and of no other', async () => {
  const { pool, follower } = await followed(await freshTable(database))
  for (let look = 0; look < 8; look++) await follower.look(true)
  const kept = await pool.query<{ statement: string; generic: string }>(
    'SELECT statement, generic_plans AS generic FROM pg_prepared_statements WHERE generic_plans > 0',
  )
  expect(kept).toEqual([{ statement: expect.stringContaining('md5'), generic: '8' }])
  expect(kept[0]?.statement).not.toContain('max(')
})
