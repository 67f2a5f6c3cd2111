/** Asks the server, on a fresh connection, which statements it does not work on. */
import { Connection } from './connection.ts'
import type { Suspect } from './statement-watch.ts'

const answerWithinMs = 10_000
/** Clocks are read at different moments, and a pooler may keep a statement for a moment before it passes it on. */
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

/** Which process has the statement nobody knows: one of the role's that has been at work for as long. */
async function unworkedSince(
  connection: Connection,
  suspects: readonly Suspect[],
): Promise<readonly Suspect[]> {
  const [row] = await connection.sql<{ busy_ms: number | null }[]>`
    SELECT max(coalesce(extract(epoch FROM clock_timestamp() - query_start) * 1000, 'infinity'))::float8 AS busy_ms
    FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND wait_event_type IS DISTINCT FROM 'Client'`
  const busyMs = row?.busy_ms ?? 0
  return suspects.filter(({ silentMs }) => busyMs < silentMs - leewayMs)
}
