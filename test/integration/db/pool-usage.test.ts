import { expect, test } from 'vitest'
import { connectSource, connectState } from '../../../src/db/client.ts'
import { meterSource, meterState, PoolUsage } from '../../../src/db/pool-usage.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'

const figures = ({ used, waiting }: PoolUsage) => ({ used, waiting })
const idle = { used: 0, waiting: 0 }

test('a metered pool of the state database counts statements from their start to their end', async () => {
  const { url } = await createTestDatabase()
  const usage = new PoolUsage(2)
  const pool = { applicationName: 'spillway test', max: 2, oneStatementAtATime: true }
  const sql = meterState(connectState(url, pool), usage)
  whenDone(() => sql.end())
  await sql`SELECT pg_advisory_lock(1)`
  expect(figures(usage)).toEqual(idle)
  // Of a statement that is a part of another, and of one that nobody waits for, nothing is sent.
  const part = sql`WHERE n > ${2}`
  const rows = await sql<{ n: number }[]>`SELECT n FROM generate_series(1, 4) n ${part} ORDER BY n`
  expect(rows.map(({ n }) => n)).toEqual([3, 4])
  expect(rows.count).toBe(2)
  expect(figures(usage)).toEqual(idle)

  const sleeping = Array.from({ length: 5 }, () => sql`SELECT pg_sleep(0.3)`.then(() => figures(usage)))
  const failing = sql`SELECT 1 / ${0}::int`
  const code = failing.catch((error: { code: string }) => error.code)
  expect(figures(usage)).toEqual({ used: 2, waiting: 4 })
  const [first] = await Promise.all([Promise.race(sleeping), ...sleeping])
  expect(first?.used).toBe(2)
  expect(await code).toBe('22012')
  expect(figures(usage)).toEqual(idle)
  expect(await sql`SELECT ${sql.json({ a: 1 })}::jsonb AS doc WHERE 2 IN ${sql([1, 2])}`).toEqual([
    { doc: { a: 1 } },
  ])
})

test('a metered pool of the source database counts statements, and those that fail', async () => {
  const { url } = await createTestDatabase()
  const usage = new PoolUsage(1)
  const sql = meterSource(connectSource(url, { applicationName: 'spillway test', max: 1 }), usage)
  whenDone(() => sql.end())
  const values: unknown[] = []
  const work = [
    sql.query('SELECT pg_sleep(0.1)'),
    sql.each('SELECT n FROM generate_series(1, 3) n', [], {}, ([n]) => values.push(n)),
    sql.query('SELECT 1 / 0').catch((error: { code: string }) => error.code),
  ]
  expect(figures(usage)).toEqual({ used: 1, waiting: 2 })
  const [, , code] = await Promise.all(work)
  expect(code).toBe('22012')
  expect(values).toEqual(['1', '2', '3'])
  expect(figures(usage)).toEqual(idle)
})
