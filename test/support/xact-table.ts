/** A table with keys of no order, read by the ordering `xact`, as docs/CONFIGURATION.md says to make it. */
import type postgres from 'postgres'
import type { ReceivedRequest } from './receiver.ts'

export interface XactTableOptions {
  readonly name?: string
  /** Of the key, with its default. */
  readonly key?: string
}

/** Registers `public.<name>` under the log type of its name. */
export async function createXactTable(
  sql: postgres.Sql,
  { name = 'visit', key = 'uuid DEFAULT gen_random_uuid()' }: XactTableOptions = {},
): Promise<void> {
  await sql.unsafe(`
    CREATE TABLE public.${name} (
      id ${key} PRIMARY KEY, tenant text, at timestamptz NOT NULL DEFAULT now(), note text,
      xact xid8 NOT NULL DEFAULT pg_current_xact_id());
    CREATE INDEX ON public.${name} (tenant, xact, id);
    CREATE INDEX ON public.${name} (xact, id)`)
  await sql`
    INSERT INTO spillway.sources (log_type, relation, org_column, timestamp_column, ordering, xact_column)
    VALUES (${name}, ${`public.${name}`}, 'tenant', 'at', 'xact', 'xact')`
}

/** The notes of the rows that came, in the order in which they came. */
export function notesOf(requests: readonly ReceivedRequest[]): string[] {
  return requests.flatMap(({ body }) => {
    const events = JSON.parse(body.toString()) as { data: { note: string } }[]
    return events.map(({ data }) => data.note)
  })
}
