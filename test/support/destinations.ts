/** Destinations as an operator makes them: by plain SQL. */
import type postgres from 'postgres'

export interface NewDestination {
  readonly url: string
  readonly org?: string | null
  readonly name?: string
  readonly type?: string
  readonly config?: postgres.JSONValue
  readonly logTypes?: readonly string[]
  readonly startFrom?: string
  readonly delivery?: postgres.JSONValue
}

export async function insertDestination(sql: postgres.Sql, options: NewDestination): Promise<number> {
  const [row] = await sql<{ id: string }[]>`
    INSERT INTO spillway.destinations (org_id, name, type, config, log_types, start_from, delivery)
    VALUES (${options.org ?? null}, ${options.name ?? 'test'}, ${options.type ?? 'http'},
            ${sql.json(options.config ?? { url: options.url })}, ${`{${(options.logTypes ?? ['request']).join(',')}}`}::text::text[],
            ${options.startFrom ?? 'now'}, ${sql.json(options.delivery ?? {})})
    RETURNING id`
  return Number(row?.id)
}

export interface StateRow {
  readonly status: string
  readonly consecutive_failures: number
  readonly first_failed_at: Date | null
  readonly next_attempt_at: Date | null
  readonly last_success_at: Date | null
  readonly last_error: string | null
  readonly last_error_at: Date | null
  /** A bigint, as the others of these. */
  readonly lag_events: string | null
  readonly lag_seconds: number | null
  readonly lag_at: Date | null
  readonly events_delivered: string
  readonly events_skipped: string
  readonly events_dead_lettered: string
  readonly batches_delivered: string
}

export async function stateOf(sql: postgres.Sql, id: number): Promise<StateRow> {
  const [row] = await sql<StateRow[]>`SELECT * FROM spillway.delivery_state WHERE destination_id = ${id}`
  if (!row) throw new Error(`destination ${id} has no state`)
  return row
}

/** Waits until a destination has failed so often in a row. */
export async function failedTimes(sql: postgres.Sql, id: number, failures: number): Promise<void> {
  while ((await stateOf(sql, id)).consecutive_failures < failures) await sql`SELECT pg_sleep(0.02)`
}

/** Where a destination's rows are; ids that rise. */
export interface SettledTable {
  readonly logType: string
  readonly relation: string
  readonly orgColumn: string
}

const requestTable = {
  logType: 'request',
  relation: 'spillway.request_audit_log',
  orgColumn: 'org_id',
} as const satisfies SettledTable

/** Waits until the cursor has passed every row of the destination's org: everything has met its fate. */
export async function settled(
  sql: postgres.Sql,
  id: number,
  org: string | null,
  { logType, relation, orgColumn }: SettledTable = requestTable,
): Promise<void> {
  for (;;) {
    const [row] = await sql<{ open: boolean }[]>`
      SELECT EXISTS (
        SELECT FROM ${sql(relation)} t JOIN spillway.cursors c ON c.destination_id = ${id} AND c.log_type = ${logType}
        WHERE t.id > c.position::bigint AND (${org}::text IS NULL OR t.${sql(orgColumn)} = ${org})
      ) AS open`
    if (row?.open === false) return
    await sql`SELECT pg_sleep(0.05)`
  }
}
