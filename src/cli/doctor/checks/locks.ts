/** Tables that somebody has locked, so that nobody can read them: found first, or the other checks would wait too. */
import { formatDuration } from '../../format.ts'
import { type Finding, problem } from '../finding.ts'
import type { Patient } from '../patient.ts'

interface Row {
  readonly log_type: string
  readonly relation: string
  readonly pid: number | null
  readonly user: string | null
  readonly application: string | null
  readonly open_ms: number | null
}

/** Adds the log types whose tables cannot be read now. */
export async function checkLocks(
  { source: { sql }, definitions, limits }: Patient,
  locked: Set<string>,
): Promise<Finding[]> {
  const wanted = JSON.stringify(definitions.map(({ logType, relation }) => ({ log_type: logType, relation })))
  const rows = await sql<Row[]>`
    SELECT d.log_type, d.relation, l.pid, a.usename AS user, a.application_name AS application,
           (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::float8 AS open_ms
    FROM jsonb_to_recordset(${wanted}::text::jsonb) AS d(log_type text, relation text)
    JOIN pg_locks l ON l.relation = to_regclass(d.relation) AND l.granted AND l.mode = 'AccessExclusiveLock'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    LEFT JOIN pg_stat_activity a ON a.pid = l.pid`
  return rows
    .filter(({ pid, open_ms }) => pid === null || (open_ms ?? 0) >= limits.idleMs)
    .map((row) => {
      locked.add(row.log_type)
      return problem(
        'transactions.lock',
        { kind: 'source', name: row.log_type },
        `${holder(row)} keeps ${row.relation} locked (ACCESS EXCLUSIVE): neither the daemon nor this command can read it.`,
        row.pid === null
          ? 'COMMIT PREPARED or ROLLBACK PREPARED; SELECT gid FROM pg_prepared_xacts says which there are.'
          : `SELECT pg_terminate_backend(${row.pid});`,
      )
    })
}

function holder({ pid, application, user, open_ms }: Row): string {
  if (pid === null) return 'A prepared transaction'
  const who = `${application || 'without application_name'}, user ${user ?? 'unknown'}`
  return `Session ${pid} (${who}), whose transaction is open for ${formatDuration(open_ms ?? 0)},`
}
