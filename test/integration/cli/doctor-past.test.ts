import { expect, test } from 'vitest'
import { doctor, healthyId, healthyXact, patient } from './doctoring.ts'

const rows = "INSERT INTO audit (org_id) SELECT 'a' FROM generate_series(1, 10)"

async function readUpTo(sql: Awaited<ReturnType<typeof patient>>['sql'], position: string, trace: unknown) {
  await sql`UPDATE spillway.cursors SET position = ${position}, start_snapshot = NULL, start_until = NULL WHERE log_type = 'test'`
  await sql`
    INSERT INTO spillway.source_state (log_type, horizon, trace)
    VALUES ('test', ${position}, ${trace === null ? null : JSON.stringify(trace)}::text::jsonb)`
}

test('a table that was truncated with RESTART IDENTITY went back in time', async () => {
  const { sql, url } = await patient(`${healthyId}; ${rows}`)
  await readUpTo(sql, '10', null)
  expect((await doctor({ DATABASE_URL: url })).hazards).toEqual([])
  await sql`TRUNCATE audit RESTART IDENTITY`
  await sql`INSERT INTO audit (org_id) VALUES ('a')`
  const seen = await doctor({ DATABASE_URL: url })
  expect(seen.hazards).toEqual(['problem source.rewound'])
  expect(seen.code).toBe(1)
  expect(seen.find('source.rewound')).toMatchObject({
    message: expect.stringContaining('read up to 10'),
    remedy: 'spillway sources rebase test',
  })
})

test.each([
  { ordering: 'id', ddl: healthyId, position: '10', finds: 'warning source.other_cluster' },
  { ordering: 'xact', ddl: healthyXact, position: '700', finds: 'problem source.other_cluster' },
] as const)('a table with the ordering $ordering that was restored into another cluster', async (given) => {
  const { sql, url } = await patient(`${given.ddl}; ${rows}`, { ordering: given.ordering })
  await readUpTo(sql, given.position, {
    cluster: '7000000000000000001',
    incarnation: '7000000000000000001/1/1',
  })
  const seen = await doctor({ DATABASE_URL: url })
  expect(seen.hazards).toEqual([given.finds])
  expect(seen.find('source.other_cluster')).toMatchObject({
    message: expect.stringContaining('7000000000000000001'),
    remedy: 'spillway sources rebase test',
  })
})
