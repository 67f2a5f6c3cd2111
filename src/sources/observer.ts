/**
 * The two statements behind each look at a source. The snapshot of the first decides what is visible; locks are read
 * while it runs, after the snapshot was taken, which is what the fence of horizon.ts stands on. The second one reads the
 * catalogue, where planning takes longer than reading: its plan is kept. It comes after the first, so that what that
 * saw is used only if the source was still what it had been.
 */
import type { SourceSql } from '../db/client.ts'
import { quoteIdentifier, quoteText } from '../events/columns.ts'
import { sourceFingerprint } from './catalog.ts'
import { hasHint } from './hint-trigger.ts'
import type { Holder } from './horizon.ts'
import type { Position } from './position.ts'
import type { Oldest } from './reader.ts'
import type { Source } from './source.ts'

interface Look {
  /** Differs from `Source.fingerprint` when the source has to be looked up again. */
  readonly fingerprint: string
  readonly oldest: Oldest
  /** The table has the trigger that tells of its rows. */
  readonly hinted: boolean
}

/** Of a source with the ordering `id`. */
export interface IdsLook extends Look {
  readonly ordering: 'id'
  readonly highest: Position | null
  readonly holders: readonly Holder[]
  /** Last id drawn from the sequence; null before the first, undefined where it cannot be read. */
  readonly lastDrawn: string | null | undefined
}

/** Of a source with the ordering `xact`. */
export interface TransactionsLook extends Look {
  readonly ordering: 'xact'
  /** The oldest transaction that was open; every one before it had ended. */
  readonly oldestOpen: string
  /** After the newest transaction that had ended. */
  readonly nextXact: string
  /** Rows of transactions from `oldestOpen` on are there, and may not be read yet; undefined where it was not asked. */
  readonly waiting: boolean | undefined
}

export type Observation = IdsLook | TransactionsLook

export type Observe<Seen> = () => Promise<Seen>

export function observeIds(sql: SourceSql, source: Source): Observe<IdsLook> {
  const { readableSequence, definition } = source
  const id = `t.${quoteIdentifier(definition.idColumn)}`
  const statement = `
    SELECT (SELECT max(${id})::text FROM ${source.relation} t) AS highest,
           ${source.ordered ? `(SELECT min(${id})::text FROM ${source.relation} t)` : 'NULL'} AS oldest,
           (SELECT json_agg(json_build_object('transaction', l.virtualtransaction, 'prepared', l.pid IS NULL))
            FROM pg_locks l
            WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock'
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND l.relation IN (${source.fenceRelations.join(', ')}))::text AS holders,
           ${readableSequence === undefined ? 'NULL' : `pg_sequence_last_value(${readableSequence})`} AS drawn`
  const catalogue = observeCatalogue(sql, source)
  return async () => {
    const [row] = await sql.query<IdsRow>(statement)
    return {
      ordering: 'id',
      ...(await catalogue()),
      highest: row?.highest ?? null,
      oldest: source.ordered ? (row?.oldest ?? null) : undefined,
      // PostgreSQL built this text one statement ago.
      holders: row?.holders ? (JSON.parse(row.holders) as Holder[]) : [],
      lastDrawn: readableSequence === undefined ? undefined : (row?.drawn ?? null),
    }
  }
}

function observeCatalogue(sql: SourceSql, source: Source): Observe<Pick<Look, 'fingerprint' | 'hinted'>> {
  const { logType, idColumn } = source.definition
  const relation = quoteText(source.definition.relation)
  const names = { relation: `${relation}::text`, idColumn: `${quoteText(idColumn)}::name` }
  const statement = `SELECT ${sourceFingerprint(source, names)} AS fingerprint,
                            ${hasHint(`to_regclass(${relation}::text)`, logType)} AS hinted`
  return async () => {
    const [row] = await sql.query<{ fingerprint: string; hinted: string }>(statement, [], { keepPlan: true })
    return { fingerprint: row?.fingerprint ?? '', hinted: row?.hinted === 't' }
  }
}

interface IdsRow {
  readonly highest: string | null
  readonly oldest: string | null
  readonly holders: string | null
  readonly drawn: string | null
}

/** `firstRow` is the statement that finds the position of the table's first row. */
export function observeTransactions(
  sql: SourceSql,
  source: Source,
  firstRow: string,
): Observe<TransactionsLook> {
  const xact = `t.${quoteIdentifier(source.definition.xactColumn ?? '')}`
  // Without an index on the column every look would read the whole table.
  const waiting = `EXISTS (SELECT FROM ${source.relation} t WHERE ${xact} >= pg_snapshot_xmin(s.snapshot))`
  const statement = `
    SELECT pg_snapshot_xmin(s.snapshot) AS oldest_open, pg_snapshot_xmax(s.snapshot) AS next_xact,
           ${source.ordered ? waiting : 'NULL'} AS waiting,
           ${source.ordered ? `(${firstRow})` : 'NULL'} AS oldest
    FROM (SELECT pg_current_snapshot() AS snapshot) s`
  const catalogue = observeCatalogue(sql, source)
  return async () => {
    const [row] = await sql.query<TransactionsRow>(statement)
    if (!row) throw new Error('a statement without FROM returned no row')
    return {
      ordering: 'xact',
      ...(await catalogue()),
      oldest: source.ordered ? row.oldest : undefined,
      oldestOpen: row.oldest_open,
      nextXact: row.next_xact,
      waiting: row.waiting === null ? undefined : row.waiting === 't',
    }
  }
}

interface TransactionsRow {
  readonly oldest_open: string
  readonly next_xact: string
  readonly waiting: string | null
  readonly oldest: string | null
}
