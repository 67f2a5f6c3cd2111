/** How many statements PostgreSQL is sent for each batch that is delivered, everything included (pg_stat_statements). */
import type { Benchmark } from './benchmark.ts'
import { drain } from './stage/drain.ts'

const name = 'queries-per-batch'
const batchSize = 250

export const queries: Benchmark = {
  name,
  what: 'statements for each delivered batch in steady catch-up',
  async run(stage) {
    const receiver = await stage.receiver()
    const scene = await stage.backlog()
    await scene.sql`CREATE EXTENSION IF NOT EXISTS pg_stat_statements`
    await scene.sql`SELECT pg_stat_statements_reset()`
    const { received } = await drain(scene, receiver, { batchSize })
    const top = await scene.sql<{ calls: number; query: string }[]>`
      SELECT calls::int, query FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
      WHERE d.datname = current_database() AND toplevel ORDER BY calls DESC`
    const statements = top.reduce((sum, { calls }) => sum + calls, 0)
    return [
      {
        row: name,
        value: statements / received.length,
        unit: 'queries',
        goal: { atMost: 2 },
        note: `${statements} statements for ${received.length} batches of ${batchSize}, start and stop included`,
        measured: { statements, batches: received.length },
      },
    ]
  },
}
