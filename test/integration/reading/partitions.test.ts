import postgres from 'postgres'
import { expect, test } from 'vitest'
import { nestedPartitions } from '../../support/nested-partitions.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { define, readerOf, sourcePool } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const limit = { rows: 2_000, bytes: 1_000_000 }

// Where PostgreSQL chooses partitions while a statement runs, some of a hundred statements for many miss rows (18.4).
test('no row is missing while partitions are detached and attached beside them', async () => {
  await sql.unsafe(nestedPartitions)
  const reader = await readerOf(sourcePool(database.url), define({ relation: 'public.ev' }))
  const changer = postgres(database.url, { max: 1, onnotice: () => {} })
  whenDone(() => changer.end())
  let isOver = false
  const changing = (async () => {
    while (!isOver) {
      await changer`ALTER TABLE ev DETACH PARTITION ev_0`
      await changer`ALTER TABLE ev ATTACH PARTITION ev_0 FOR VALUES IN (0)`
    }
  })()
  const orgs = ['acme', 'globex', 'initech'] as const
  const incomplete: unknown[] = []
  let rounds = 0
  for (const began = performance.now(); performance.now() - began < 4_000; rounds++) {
    const made = await sql<{ id: string; org_id: string }[]>`
      INSERT INTO ev (org_id, m) SELECT org, 3 FROM unnest(${orgs}::text[]) org RETURNING id, org_id`
    const range = { after: String(Number(made[0]?.id) - 1), upTo: made[2]?.id ?? '' }
    const pages = await Promise.all(orgs.map((orgId) => reader.readPage({ orgId }, range, limit)))
    const found = pages.flatMap(({ rows }) => rows.map(({ position, event }) => [position, event.orgId]))
    const cursors = orgs.map((orgId) => ({ scope: { orgId }, position: range.after }))
    const due = await reader.due(cursors, range.upTo)
    if (due.size < 3) incomplete.push({ made, due })
    if (found.join() !== made.map(({ id, org_id }) => [id, org_id]).join()) incomplete.push({ made, found })
  }
  isOver = true
  await changing
  expect(incomplete).toEqual([])
  expect(rounds).toBeGreaterThan(100)
})
