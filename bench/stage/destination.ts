/** Destinations as an operator makes them: by plain SQL. */
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'

export interface NewDestination {
  readonly url: string
  readonly startFrom: 'now' | 'beginning'
  /** Null, the default, for the events of every org. */
  readonly org?: string | null
  /** Of its type, beside the URL. */
  readonly config?: Readonly<Record<string, postgres.JSONValue>>
  /** Over what the environment says. */
  readonly delivery?: Readonly<Record<string, number>>
}

export async function addDestination(sql: postgres.Sql, destination: NewDestination): Promise<number> {
  const [id] = await addDestinations(sql, [destination])
  if (id === undefined) throw new Error('the destination was not inserted')
  return id
}

/** All at once, in one transaction. */
export async function addDestinations(
  sql: postgres.Sql,
  destinations: readonly NewDestination[],
): Promise<number[]> {
  const rows = destinations.map(({ url, startFrom, org = null, config = {}, delivery = {} }) => ({
    org,
    start_from: startFrom,
    config: { ...config, url },
    delivery,
  }))
  const added = await sql<{ id: number }[]>`
    INSERT INTO spillway.destinations (org_id, name, type, config, log_types, start_from, delivery)
    SELECT org, 'bench', 'http', config, '{request}', start_from, delivery
    FROM jsonb_to_recordset(${sql.json(rows)}) AS d(org text, start_from text, config jsonb, delivery jsonb)
    RETURNING id::int`
  return added.map(({ id }) => id)
}

export async function removeDestinations(sql: postgres.Sql, ids: readonly number[]): Promise<void> {
  await sql`DELETE FROM spillway.destinations WHERE id = ANY(${[...ids]})`
}

/** Waits until nothing of the destinations' rows lies beyond a cursor, and nothing is frozen: everything is settled. */
export async function settled(sql: postgres.Sql, ids: readonly number[]): Promise<void> {
  const deadline = performance.now() + 10_000
  while (performance.now() < deadline) {
    const [row] = await sql<{ settled: boolean }[]>`
      SELECT count(*) = ${ids.length} AS settled FROM spillway.cursors c JOIN spillway.destinations d ON d.id = c.destination_id
      WHERE d.id = ANY(${[...ids]}) AND c.frozen = '{}' AND NOT EXISTS (
        SELECT FROM spillway.request_audit_log t
        WHERE t.id > c.position::bigint AND (d.org_id IS NULL OR t.org_id = d.org_id))`
    if (row?.settled) return
    await delay(20)
  }
  throw new Error('the daemon delivered everything and did not settle it within 10 s')
}
