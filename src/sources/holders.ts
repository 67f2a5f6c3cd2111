/**
 * Who holds a horizon back, from PostgreSQL's lock table and its sessions. Catalogue and statistics only: a
 * question never touches the audit table, which may be what is locked.
 *
 * A role sees of other roles' sessions little more than their name, unless it is a member of
 * `pg_read_all_stats`; what it may not see is undefined here, and `hidden` says so.
 */
import type { SourceSql } from '../db/client.ts'
import { quoteIdentifier } from '../events/columns.ts'
import type { Position } from './position.ts'
import { inheritorsOf } from './sequences.ts'
import type { Source } from './source.ts'

export type HolderQuestion =
  /** Virtual transactions: the members of a fence. */
  | { readonly kind: 'members'; readonly transactions: readonly string[] }
  /** The oldest transaction that writes, anywhere in the cluster. */
  | { readonly kind: 'oldest'; readonly xact: Position }
  /** A look at the table does not come back: somebody has locked it, or its sequence, against readers. */
  | { readonly kind: 'lock' }

export interface Holder {
  /** Undefined for a prepared transaction, which belongs to no session. */
  readonly pid: number | undefined
  /** The name a prepared transaction was given. */
  readonly gid: string | undefined
  readonly applicationName: string | undefined
  readonly user: string | undefined
  readonly database: string | undefined
  /** `10.0.0.7:51234`, or `local socket`. */
  readonly clientAddress: string | undefined
  /** `client backend`, `logical replication apply worker`, … */
  readonly backendType: string | undefined
  /** As in `pg_stat_activity`; `prepared` for a prepared one. */
  readonly state: string | undefined
  /** What its session waits for, `Client: ClientRead`. */
  readonly wait: string | undefined
  /** Sessions that it waits for itself, by pid; 0 stands for a prepared transaction. */
  readonly blockedBy: readonly string[]
  /** `RowExclusiveLock on audit_id_seq` */
  readonly lock: string
  /** Epoch milliseconds; of a prepared one, when it was prepared. */
  readonly startedAt: number | undefined
  readonly ageMs: number | undefined
}

export interface Holders {
  /** How many transactions hold it back. */
  readonly count: number
  readonly oldest: Holder
  /** The role that asks, where it may not see the oldest one's session. */
  readonly hiddenFrom: string | undefined
}

/** Undefined when nobody holds it any more. */
export async function findHolders(
  sql: SourceSql,
  source: Source,
  question: HolderQuestion,
): Promise<Holders | undefined> {
  const { condition, parameters, count } = held(source, question)
  const [row] = await sql.query<HolderRow>(statement(condition, count), parameters)
  return row && toHolders(row)
}

interface Held {
  /** Which rows of `pg_locks l` are meant. */
  readonly condition: string
  readonly parameters: readonly string[]
  /** Expression for how many there are. */
  readonly count: string
}

function held(source: Source, question: HolderQuestion): Held {
  const here = 'l.database = (SELECT oid FROM pg_database WHERE datname = current_database())'
  const sequences = source.fence === 'sequence' ? source.fenceRelations : []
  switch (question.kind) {
    case 'members':
      return {
        condition: `l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted AND ${here}
          AND l.relation IN (${source.fenceRelations.join(', ')})
          AND l.virtualtransaction IN (SELECT jsonb_array_elements_text($1::text::jsonb))`,
        parameters: [JSON.stringify(question.transactions)],
        count: 'count(*) OVER ()',
      }
    case 'oldest':
      return {
        // The lock table keeps the lower 32 bits of a transaction's number.
        condition: `l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
          AND l.transactionid::text = mod($1::text::numeric, 4294967296)::text
          AND pg_snapshot_xmin(pg_current_snapshot())::text = $1::text`,
        parameters: [question.xact],
        // When it has ended, the horizon goes on to the next one of these.
        count: '(SELECT count(*) FROM pg_snapshot_xip(pg_current_snapshot()))',
      }
    case 'lock':
      return {
        condition: `l.locktype = 'relation' AND ${here} AND (
          l.mode = 'AccessExclusiveLock' AND l.relation IN (${inheritorsOf('to_regclass($1::text)::oid')})
          OR l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            AND l.relation = ANY ('{${sequences.join(',')}}'::oid[]))`,
        parameters: [source.definition.relation],
        count: 'count(*) OVER ()',
      }
    default:
      return question satisfies never
  }
}

/**
 * The oldest holder, its session or the name it was prepared under. Whoever has a lock comes before those
 * who wait for one.
 */
function statement(condition: string, count: string): string {
  const started = 'coalesce(a.xact_start, p.prepared)'
  return `
    WITH locks AS MATERIALIZED (SELECT * FROM pg_locks),
    held AS (
      SELECT DISTINCT ON (l.virtualtransaction) l.virtualtransaction, l.pid, l.granted,
        l.mode || ' on ' || CASE l.locktype WHEN 'relation' THEN l.relation::regclass::text
                                            ELSE 'transaction ' || $1::text END AS lock
      FROM locks l WHERE ${condition} ORDER BY l.virtualtransaction, l.granted DESC
    )
    SELECT ${count} AS holders, h.pid, h.lock, p.gid,
           a.application_name, coalesce(a.usename, p.owner) AS user, coalesce(a.datname, p.database) AS database,
           CASE WHEN a.client_port = -1 THEN 'local socket'
                ELSE host(a.client_addr) || ':' || a.client_port END AS client_address,
           a.backend_type, CASE WHEN h.pid IS NULL THEN 'prepared' ELSE a.state END AS state,
           a.wait_event_type || ': ' || a.wait_event AS wait,
           array_to_string(pg_blocking_pids(h.pid), ',') AS blocked_by,
           round(extract(epoch FROM ${started}) * 1000)::bigint AS started_at,
           round(extract(epoch FROM clock_timestamp() - ${started}) * 1000)::bigint AS age_ms,
           CASE WHEN a.query = '<insufficient privilege>' THEN current_user END AS hidden_from
    FROM held h LEFT JOIN pg_stat_activity a ON a.pid = h.pid
    LEFT JOIN LATERAL (
      SELECT x.gid, x.owner, x.database, x.prepared FROM locks t JOIN pg_prepared_xacts x ON x.transaction = t.transactionid
      WHERE h.pid IS NULL AND t.virtualtransaction = h.virtualtransaction AND t.locktype = 'transactionid' AND t.pid IS NULL
      LIMIT 1
    ) p ON true
    ORDER BY h.granted DESC, ${started} NULLS LAST, h.pid LIMIT 1`
}

interface HolderRow {
  readonly holders: string
  readonly pid: string | null
  readonly lock: string
  readonly gid: string | null
  readonly application_name: string | null
  readonly user: string | null
  readonly database: string | null
  readonly client_address: string | null
  readonly backend_type: string | null
  readonly state: string | null
  readonly wait: string | null
  readonly blocked_by: string | null
  readonly started_at: string | null
  readonly age_ms: string | null
  readonly hidden_from: string | null
}

function toHolders(row: HolderRow): Holders {
  return {
    count: Number(row.holders),
    hiddenFrom: row.hidden_from === null ? undefined : quoteIdentifier(row.hidden_from),
    oldest: {
      pid: numberOf(row.pid),
      gid: row.gid ?? undefined,
      applicationName: row.application_name || undefined,
      user: row.user ?? undefined,
      database: row.database ?? undefined,
      clientAddress: row.client_address ?? undefined,
      backendType: row.backend_type ?? undefined,
      state: row.state ?? undefined,
      wait: row.wait ?? undefined,
      blockedBy: row.blocked_by ? row.blocked_by.split(',') : [],
      lock: row.lock,
      startedAt: numberOf(row.started_at),
      ageMs: numberOf(row.age_ms),
    },
  }
}

function numberOf(text: string | null): number | undefined {
  return text === null ? undefined : Number(text)
}
