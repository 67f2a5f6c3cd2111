import { describe, expect, test } from 'vitest'
import type { Scope } from '../../../src/sources/selection.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { freshTable, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)

async function setUp() {
  const definition = await freshTable(database)
  await sql.unsafe(`
    INSERT INTO ${definition.relation} (org_id, at)
    SELECT CASE WHEN n % 3 = 0 THEN 'globex' ELSE 'acme' END, '2026-01-01T00:00:00Z'::timestamptz + n * interval '1 s'
    FROM generate_series(1, 30) n`)
  return readerOf(pool, definition)
}

const ask = (scope: Scope, after: string, upTo = '30', limit = 100) => ({
  scope,
  range: { after, upTo },
  limit,
})
const second = (n: number) => Date.parse('2026-01-01T00:00:00Z') + n * 1_000

describe('backlogs', () => {
  test('count the rows of their tenant alone, and name the age of the first (I7)', async () => {
    const reader = await setUp()
    expect(
      await reader.backlogs([
        ask({ orgId: null }, '0'),
        ask({ orgId: 'acme' }, '9'),
        ask({ orgId: 'globex' }, '9'),
        ask({ orgId: 'nobody' }, '0'),
        ask({ orgId: "' OR true --" }, '0'),
        ask({ orgId: null }, '30'),
      ]),
    ).toEqual([
      { count: 30, firstMs: second(1) },
      { count: 14, firstMs: second(10) },
      { count: 7, firstMs: second(12) },
      { count: 0, firstMs: undefined },
      { count: 0, firstMs: undefined },
      { count: 0, firstMs: undefined },
    ])
    expect(await reader.backlogs([])).toEqual([])
  })

  test('stop at the horizon and at their limit', async () => {
    const reader = await setUp()
    expect(
      await reader.backlogs([
        ask({ orgId: null }, '10', '12'),
        ask({ orgId: null }, '10', '30', 5),
        ask({ orgId: 'globex' }, '10', '11'),
      ]),
    ).toMatchObject([{ count: 2 }, { count: 5 }, { count: 0 }])
  })

  test('leave out what is older than the destination', async () => {
    const reader = await setUp()
    const [row] = await sql<{ xid: string }[]>`SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xid`
    const start = { kind: 'ids', until: '28', xid: row?.xid ?? '', seen: '{[1,30]}' } as const
    expect(await reader.backlogs([ask({ orgId: null, start }, '20')])).toEqual([
      { count: 2, firstMs: second(29) },
    ])
  })

  test('are read by the same rules in the order of transactions', async () => {
    const relation = 'public.by_transaction'
    await sql.unsafe(`
      CREATE TABLE ${relation} (id uuid DEFAULT gen_random_uuid(), org_id text, at timestamptz DEFAULT now(),
        xact xid8 NOT NULL DEFAULT pg_current_xact_id());
      CREATE INDEX ON ${relation} (xact, id); CREATE INDEX ON ${relation} (org_id, xact, id);`)
    for (const org of ['acme', 'globex', 'acme']) {
      await sql.unsafe(
        `INSERT INTO ${relation} (org_id) SELECT '${org}' FROM generate_series(1, ${org === 'acme' ? 2 : 5})`,
      )
    }
    const definition = {
      ...(await freshTable(database)),
      relation,
      ordering: 'xact',
      xactColumn: 'xact',
    } as const
    const reader = await readerOf(pool, definition)
    const [row] = await sql<{ next: string }[]>`SELECT pg_snapshot_xmax(pg_current_snapshot())::text AS next`
    const upTo = row?.next ?? ''
    expect(
      await reader.backlogs([ask({ orgId: null }, '0', upTo), ask({ orgId: 'acme' }, '0', upTo)]),
    ).toMatchObject([{ count: 9 }, { count: 4 }])
  })
})
