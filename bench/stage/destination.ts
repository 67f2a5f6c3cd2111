/** Destinations as an operator makes them: by plain SQL. They get every org's request events. */
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'

export interface NewDestination {
  readonly url: string
  readonly startFrom: 'now' | 'beginning'
}

export async function addDestination(sql: postgres.Sql, { url, startFrom }: NewDestination): Promise<number> {
  const [row] = await sql<{ id: number }[]>`
    INSERT INTO spillway.destinations (name, type, config, log_types, start_from)
    VALUES ('bench', 'http', ${sql.json({ url })}, '{request}', ${startFrom}) RETURNING id::int`
  if (!row) throw new Error('the destination was not inserted')
  return row.id
}

export async function removeDestination(sql: postgres.Sql, id: number): Promise<void> {
  await sql`DELETE FROM spillway.destinations WHERE id = ${id}`
}

/** Waits until the cursor stands at the last row and nothing is frozen: everything is settled. */
export async function settled(sql: postgres.Sql, id: number): Promise<void> {
  const deadline = performance.now() + 10_000
  while (performance.now() < deadline) {
    const [row] = await sql<{ settled: boolean }[]>`
      SELECT position::bigint = (SELECT max(id) FROM spillway.request_audit_log) AND frozen = '{}' AS settled
      FROM spillway.cursors WHERE destination_id = ${id}`
    if (row?.settled) return
    await delay(20)
  }
  throw new Error('the daemon delivered everything and did not settle it within 10 s')
}
