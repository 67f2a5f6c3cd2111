import { expect, test } from 'vitest'
import type { Memory } from '../../../src/sources/rewind.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { freshTable, sourcePool, watch } from './watching.ts'

const database = await createTestDatabase()
const sql = sourcePool(database.url)

test('a source that goes back right after it was read stays rewound, although little of that was stored yet', async () => {
  const definition = await freshTable(database)
  const { relation } = definition
  let recalls = 0
  let stored: Memory = { horizon: '0', cursor: '0', trace: undefined }
  const watching = watch(
    sql,
    definition,
    undefined,
    {},
    {
      recall: async () => {
        recalls += 1
        return stored
      },
      remember: async (_, horizon, trace) => {
        stored = { ...stored, horizon, trace }
      },
    },
  )
  await watching.looked()
  await database.sql.unsafe(`INSERT INTO ${relation} (org_id) SELECT 'acme' FROM generate_series(1, 20)`)
  await watching.reached('20')
  stored = { ...stored, cursor: '20' }
  await database.sql.unsafe(`TRUNCATE ${relation} RESTART IDENTITY`)
  await database.sql.unsafe(`INSERT INTO ${relation} (org_id) SELECT 'acme' FROM generate_series(1, 5)`)
  await expect.poll(() => watching.lines.all.map(({ code }) => code)).toContain('source.rewound')
  expect(stored.horizon).toBe('20')
  // The next look goes by what is stored, and asks for it once more when it finds the source rewound again.
  const before = recalls
  await expect.poll(() => recalls).toBeGreaterThanOrEqual(before + 2)
  expect(watching.lines.all.map(({ code }) => code)).not.toContain('source.recovered')
  expect(watching.watcher.problem).toContain('went back in time')
  await watching.stop()
})
