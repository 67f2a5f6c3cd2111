/** Asks the server, on a fresh connection, which statements it does not work on. */
import { Connection } from './connection.ts'
import type { Suspect } from './statement-watch.ts'

const answerWithinMs = 10_000
/** Between the readings of the two clocks a message may have been on its way for a while. */
const leewayMs = 5_000

export interface Way {
  readonly url: string
  /** Through a pooler: what it says of server processes is made up. */
  readonly pooled: boolean
}

/** Rejects when there is no answer in time. */
export async function lostStatements(
  { url, pooled }: Way,
  suspects: readonly Suspect[],
): Promise<readonly Suspect[]> {
  const connection = new Connection(url, 'spillway probe')
  try {
    return await connection.within(
      answerWithinMs,
      pooled ? unworkedSince(connection, suspects) : unworked(connection, suspects),
    )
  } finally {
    await connection.end(0)
  }
}

/** A process that waits for its client has not got the statement, or has answered it. */
async function unworked(connection: Connection, suspects: readonly Suspect[]): Promise<readonly Suspect[]> {
  const pids = `{${suspects.map(({ pid }) => pid).join(',')}}`
  const rows = await connection.sql<{ pid: number }[]>`
    SELECT pid FROM pg_stat_activity
    WHERE pid = ANY (${pids}::text::int[]) AND wait_event_type IS DISTINCT FROM 'Client'`
  const busy = new Set(rows.map(({ pid }) => pid))
  return suspects.filter(({ pid }) => !busy.has(pid))
}

/**
 * Which process has the statement nobody knows: one of the role's that is at work on the same text and did not
 * begin before it was sent. It may have begun later: the pooler had no session left. The server keeps the beginning
 * of a text, and no text at all where that is switched off, which fits everything.
 */
async function unworkedSince(
  connection: Connection,
  suspects: readonly Suspect[],
): Promise<readonly Suspect[]> {
  const rows = await connection.sql<{ pid: number }[]>`
    SELECT (suspect ->> 'pid')::int AS pid FROM jsonb_array_elements(${JSON.stringify(suspects)}::text::jsonb) AS suspect
    WHERE EXISTS (
      SELECT FROM pg_stat_activity
      WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
        AND wait_event_type IS DISTINCT FROM 'Client' AND starts_with(suspect ->> 'text', query)
        AND (query_start IS NULL OR extract(epoch FROM clock_timestamp() - query_start) * 1000
             <= (suspect ->> 'ageMs')::float8 + ${leewayMs}::float8))`
  const busy = new Set(rows.map(({ pid }) => pid))
  return suspects.filter(({ pid }) => !busy.has(pid))
}
