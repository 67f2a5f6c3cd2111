/** What a replay is planned by: sources, cursors, skipped ranges and dead letters, as they are on record. */
import type { Sql } from '../db/client.ts'
import type { Position } from '../sources/position.ts'
import { arrayLiteral, type Cursor, startMark } from './cursor.ts'

/** What is known of a log type where a replay is planned. */
export interface Standing {
  readonly logType: string
  readonly life: string
  /** Of the source's row. */
  readonly revision: string
  readonly cursor: Pick<Cursor, 'position' | 'start'> | undefined
}

export interface SkippedRow {
  readonly eventCount: number | null
  readonly reason: string
}

export interface DeadLetterCount {
  readonly logType: string
  readonly highestId: string
  /** Of any life of the source. */
  readonly count: number
}

/** Dead letters that stand for another row of the table with the same id: to a receiver they were sent. */
export const sendable = `resolved_at IS NULL AND reason NOT LIKE 'duplicate\\_id:%'`

export class ReplayFacts {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** Sources and cursors of a destination's log types. */
  async standings(destinationId: number, logTypes: readonly string[]): Promise<Standing[]> {
    const rows = await this.#sql<StandingRow[]>`
      SELECT s.log_type, s.life::text AS life, s.changed_xid::text AS revision,
             CASE WHEN c.log_type IS NOT NULL THEN json_build_object(
               'position', c.position, 'startUntil', c.start_until, 'startXid', c.start_xid::text,
               'startSeen', c.start_seen::text, 'startSnapshot', c.start_snapshot::text)::text END AS cursor
      FROM spillway.sources s
      LEFT JOIN spillway.cursors c ON c.log_type = s.log_type AND c.destination_id = ${destinationId}
      WHERE s.log_type = ANY (${arrayLiteral(logTypes)}::text::text[]) ORDER BY s.log_type`
    return rows.map(({ log_type, life, revision, cursor }) => {
      const json = cursor === null ? undefined : (JSON.parse(cursor) as CursorJson) // built by the statement
      const start = json && startMark(json)
      return {
        logType: log_type,
        life,
        revision,
        cursor: json && { position: json.position, ...(start && { start }) },
      }
    })
  }

  /** Only of the life that the source is in. */
  async skipped(id: number, destinationId: number): Promise<SkippedRow | undefined> {
    const [row] = await this.#sql<{ event_count: string | null; reason: string }[]>`
      SELECT r.event_count, r.reason FROM spillway.skipped_ranges r JOIN spillway.sources s USING (log_type, life)
      WHERE r.id = ${id} AND r.destination_id = ${destinationId}`
    return (
      row && { eventCount: row.event_count === null ? null : Number(row.event_count), reason: row.reason }
    )
  }

  async deadLetterCounts(
    destinationId: number,
    logTypes: readonly string[],
  ): Promise<readonly DeadLetterCount[]> {
    const rows = await this.#sql<{ log_type: string; highest: string; count: string }[]>`
      SELECT log_type, max(id)::text AS highest, count(*)::text AS count FROM spillway.dead_letters
      WHERE destination_id = ${destinationId} AND log_type = ANY (${arrayLiteral(logTypes)}::text::text[])
        AND ${this.#sql.unsafe(sendable)}
      GROUP BY log_type ORDER BY log_type`
    return rows.map(({ log_type, highest, count }) => ({
      logType: log_type,
      highestId: highest,
      count: Number(count),
    }))
  }

  /** The next dead letters of a life of the source, by rising id. */
  async deadLetters(
    {
      destinationId,
      logType,
      life,
    }: { readonly destinationId: number; readonly logType: string; readonly life: string },
    after: Position,
    upTo: Position,
    limit: number,
  ): Promise<readonly { id: string; event_id: string }[]> {
    return this.#sql<{ id: string; event_id: string }[]>`
      SELECT id::text AS id, event_id FROM spillway.dead_letters
      WHERE destination_id = ${destinationId} AND log_type = ${logType} AND life = ${life}::text::uuid
        AND id > ${after}::text::bigint AND id <= ${upTo}::text::bigint AND ${this.#sql.unsafe(sendable)}
      ORDER BY dead_letters.id LIMIT ${limit}`
  }
}

interface CursorJson {
  readonly position: string
  readonly startUntil: string | null
  readonly startXid: string | null
  readonly startSeen: string | null
  readonly startSnapshot: string | null
}

interface StandingRow {
  readonly log_type: string
  readonly life: string
  readonly revision: string
  readonly cursor: string | null
}
