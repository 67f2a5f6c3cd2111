/** Transactions that hold back sources: rows above what they have drawn wait for them. */
import { sleep } from '../../../clock.ts'
import { formatDuration } from '../../format.ts'
import { type Finding, fine, problem, type Subject, warning } from '../finding.ts'
import type { FoundSource, Patient } from '../patient.ts'

/** One transaction and what of ours it holds. */
interface Holder {
  readonly transaction: string
  readonly pid: number | null
  /** OIDs of fences that it holds. */
  readonly relations: readonly string[]
  readonly writes: boolean
  /** Null where it is this one. */
  readonly elsewhere: string | null
  readonly user: string | null
  readonly application: string | null
  /** Null where the role may not see it. */
  readonly state: string | null
  readonly open_ms: number | null
  readonly idle_ms: number | null
}

interface Prepared {
  readonly gid: string
  readonly transaction: string
  readonly owner: string
  readonly database: string
  readonly age_ms: number
  readonly here: boolean
}

export async function checkTransactions(
  patient: Patient,
  sources: readonly FoundSource[],
): Promise<Finding[]> {
  const { subject } = patient.source
  const holders = (await look(patient, sources)).filter((holder) => held(holder, sources).length > 0)
  const running = holders.filter(({ pid }) => pid !== null)
  const seen = running.filter(({ state }) => state !== null)
  const hidden = await stillThere(
    patient,
    sources,
    running.filter(({ state }) => state === null),
  )
  const findings = [
    ...seen.flatMap((holder) => judged(holder, sources, patient, subject)),
    ...(await unseen(patient, sources, hidden)),
    ...(await prepared(patient, sources, holders)),
  ]
  if (findings.length > 0) return findings
  return [fine('transactions', subject, 'No transaction has held back a source for long.')]
}

async function look({ source: { sql } }: Patient, sources: readonly FoundSource[]): Promise<Holder[]> {
  const fences = sources.flatMap(({ source }) => source.fenceRelations)
  return sql<Holder[]>`
    SELECT l.virtualtransaction AS transaction, l.pid,
           coalesce(json_agg(l.relation::text) FILTER (WHERE l.relation IS NOT NULL), '[]') AS relations,
           bool_or(l.locktype = 'transactionid') AS writes,
           nullif(a.datname, current_database()) AS elsewhere, a.usename AS user, a.application_name AS application, a.state,
           (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000)::float8 AS open_ms,
           (extract(epoch FROM clock_timestamp() - a.state_change) * 1000)::float8 AS idle_ms
    FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND (
      (l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock')
      OR (l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.relation::text IN (SELECT jsonb_array_elements_text(${JSON.stringify(fences)}::text::jsonb))))
    GROUP BY l.virtualtransaction, l.pid, a.datname, a.usename, a.application_name, a.state, a.xact_start, a.state_change
    ORDER BY a.xact_start`
}

/** Log types that wait for it. */
function held({ relations, writes }: Holder, sources: readonly FoundSource[]): string[] {
  return sources
    .filter(({ source }) =>
      source.fence === 'snapshot' ? writes : source.fenceRelations.some((fence) => relations.includes(fence)),
    )
    .map(({ source }) => source.definition.logType)
}

function judged(
  holder: Holder,
  sources: readonly FoundSource[],
  { limits }: Patient,
  subject: Subject,
): Finding[] {
  const { pid, state, open_ms: openMs, idle_ms: idleMs } = holder
  const what = `${named(holder)} holds back ${held(holder, sources).join(', ')}`
  const open = formatDuration(openMs ?? 0)
  if (state?.startsWith('idle in transaction') && (idleMs ?? 0) >= limits.idleMs) {
    return [
      problem(
        'transactions.idle',
        subject,
        `${what}: idle for ${formatDuration(idleMs ?? 0)} in a transaction that is open for ${open}. Rows above what it has drawn wait.`,
        `SELECT pg_terminate_backend(${pid}); and ALTER ROLE ${quoted(holder.user)} SET idle_in_transaction_session_timeout = '1min';`,
      ),
    ]
  }
  if ((openMs ?? 0) < limits.longMs) return []
  return [
    warning(
      'transactions.long',
      subject,
      `${what}: at work for ${open}. Rows above what it has drawn wait until it ends.`,
      `Write audit rows in short transactions. To end this one: SELECT pg_terminate_backend(${pid});`,
    ),
  ]
}

function named({ pid, application, user, elsewhere }: Holder): string {
  const database = elsewhere === null ? '' : `, database ${elsewhere}`
  return `Session ${pid} (${application || 'without application_name'}, user ${user ?? 'unknown'}${database})`
}

function quoted(name: string | null): string {
  return name === null ? '…' : `"${name.replaceAll('"', '""')}"`
}

/** Of a session whose state is hidden only its locks tell: whoever has them a second later is worth a word. */
async function stillThere(
  patient: Patient,
  sources: readonly FoundSource[],
  hidden: readonly Holder[],
): Promise<Holder[]> {
  if (hidden.length === 0) return []
  await sleep(patient.limits.lookAgainMs)
  const later = new Set((await look(patient, sources)).map(({ transaction }) => transaction))
  return hidden.filter(({ transaction }) => later.has(transaction))
}

async function unseen(
  { source: { sql, subject } }: Patient,
  sources: readonly FoundSource[],
  hidden: readonly Holder[],
): Promise<Finding[]> {
  if (hidden.length === 0) return []
  const [row] = await sql<{ role: string }[]>`SELECT quote_ident(current_user) AS role`
  return hidden.map((holder) =>
    warning(
      'transactions.hidden',
      subject,
      `${named({ ...holder, application: 'hidden' })} holds back ${held(holder, sources).join(', ')}, and the role may not see since when.`,
      `GRANT pg_read_all_stats TO ${row?.role};`,
    ),
  )
}

/** They hold what they held before, also over a restart, until somebody ends them. */
async function prepared(
  { source: { sql, subject }, limits }: Patient,
  sources: readonly FoundSource[],
  holders: readonly Holder[],
): Promise<Finding[]> {
  const rows = await sql<Prepared[]>`
    SELECT p.gid, p.owner, p.database, p.database = current_database() AS here,
           (extract(epoch FROM clock_timestamp() - p.prepared) * 1000)::float8 AS age_ms,
           coalesce((SELECT l.virtualtransaction FROM pg_locks l
                     WHERE l.locktype = 'transactionid' AND l.transactionid = p.transaction AND l.pid IS NULL LIMIT 1), '') AS transaction
    FROM pg_prepared_xacts p ORDER BY p.prepared`
  return rows
    .filter(({ age_ms }) => age_ms >= limits.preparedMs)
    .flatMap((row) => {
      const holder = holders.find(({ transaction, pid }) => pid === null && transaction === row.transaction)
      const logTypes = holder ? held(holder, sources) : []
      const gid = `'${row.gid.replaceAll("'", "''")}'`
      const what = `The transaction ${gid} of ${row.owner} in ${row.database} has been prepared for ${formatDuration(row.age_ms)}`
      const remedy = `COMMIT PREPARED ${gid}; or ROLLBACK PREPARED ${gid}; in the database ${row.database}.`
      if (logTypes.length > 0) {
        const message = `${what} and holds back ${logTypes.join(', ')}: rows above what it has drawn wait.`
        return [problem('transactions.prepared', subject, message, remedy)]
      }
      // Of no source's business.
      if (!row.here) return []
      const message = `${what}. It holds back no source, but keeps VACUUM from its work.`
      return [warning('transactions.prepared', subject, message, remedy)]
    })
}
