import { describe, expect, test } from 'vitest'
import { createTestDatabase } from '../../support/postgres.ts'
import { define, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)

describe.each([
  ['id', 'bigint', null],
  ['xact', 'text', 'xact'],
] as const)('rows with one place in the order %s', (ordering, type, xactColumn) => {
  const relation = `public.twice_${ordering}`

  test.each([
    ['rows', { rows: 1, bytes: 1_000_000 }],
    ['bytes', { rows: 100, bytes: 1 }],
  ])('come in one page, whatever its limit of %s, and all but one are marked', async (_, limit) => {
    await sql.unsafe(`
      DROP TABLE IF EXISTS ${relation};
      CREATE TABLE ${relation} (id ${type} NOT NULL, org_id text, at timestamptz DEFAULT now(), note text
        ${xactColumn ? ', xact xid8 NOT NULL DEFAULT pg_current_xact_id()' : ''});
      INSERT INTO ${relation} (id, note) VALUES (1, 'a'), (2, 'b'), (2, 'c'), (2, 'd'), (3, 'e')`)
    const reader = await readerOf(pool, define({ relation, ordering, xactColumn }))
    const upTo = ordering === 'id' ? '9' : '99999999'
    const ids: string[][] = []
    let after = '0'
    for (;;) {
      const page = await reader.readPage({ orgId: null }, { after, upTo }, limit)
      if (page.last === undefined) break
      after = page.last
      ids.push(page.rows.map(({ event, isDuplicate }) => `${event.id}${isDuplicate ? ' again' : ''}`))
    }
    expect(ids).toEqual([['test:1'], ['test:2', 'test:2 again', 'test:2 again'], ['test:3']])
  })
})
