/**
 * What delivery to one destination writes down, under the lease of its shard: without it nothing is written. Every write of
 * a cursor is one statement that names the position and the frozen ends it expects to find: a cursor moves forward only and by
 * one writer (I3), together with the records of whatever was not delivered (I1, I5), the bounds that are frozen next (I4)
 * and the destination's counters, which are exact for it.
 *
 * A write that settles may be lost with the database's power: the batch is then repeated under its id.
 * A write that freezes must not be: it waits for the disk.
 */
import type { Sql } from '../db/client.ts'
import { LeaseLostError } from '../errors.ts'
import type { Position } from '../sources/position.ts'
import { arrayLiteral, instant } from './cursor.ts'
import { becomesWell, type CursorMove } from './cursor-move.ts'
import type { CursorMoves } from './cursor-moves.ts'
import type { Health } from './decide.ts'
import { heldRow, impatiently, type Lease } from './lease.ts'

export class DeliveryStore {
  readonly #sql: Sql
  readonly #moves: CursorMoves
  readonly lease: Lease

  constructor(sql: Sql, moves: CursorMoves, lease: Lease) {
    this.#sql = sql
    this.#moves = moves
    this.lease = lease
  }

  get #held() {
    return heldRow(this.#sql, this.lease)
  }

  /** Starts a cursor, where there is none. */
  async seed(destinationId: number, logType: string, position: Position): Promise<void> {
    await this.#sql`
      INSERT INTO spillway.cursors (destination_id, log_type, position)
      SELECT id, ${logType}::text, ${position}::text 
      FROM spillway.destinations, (${this.#held}) held WHERE id = ${destinationId}
      ON CONFLICT DO NOTHING`
  }

  /**
   * Throws `LeaseLostError` when the cursor is not where it should be. Safe to repeat. `onDispatched` may be called before it
   * is made: then it is on its way, and outlives this process.
   */
  async move(move: CursorMove, onDispatched?: () => void): Promise<void> {
    const isMade = await this.#moves.make(this.lease, move, onDispatched)
    if (!isMade) await this.#moveAlone(move)
  }

  /** With what is to be recorded; waits a while for rows that are locked, and knows why it could not be made. */
  async #moveAlone(move: CursorMove): Promise<void> {
    const { destinationId, logType, life, from, to } = move
    const frozen = arrayLiteral(move.frozen)
    const ledger = JSON.stringify({
      skipped: move.skipped.map(({ from, to, count, reason }) => ({ from, to, count, reason })),
      dead: move.deadLetters.map(({ eventId, code, status, message }) => ({
        event_id: eventId,
        status,
        reason: `${code}: ${message}`,
      })),
    })
    const dead = move.deadLetters.length
    const skipped = move.skipped.reduce((sum, { count }) => sum + (count ?? 0), 0)
    const counters = this.#sql`
          events_delivered = events_delivered + ${move.accepted}::bigint,
          batches_delivered = batches_delivered + ${move.accepted > 0 ? 1 : 0}::bigint,
          events_skipped = events_skipped + ${skipped}::bigint,
          events_dead_lettered = events_dead_lettered + ${dead}::bigint`
    const [row] = await this.#sql<{ moved: string }[]>`
      WITH held AS (${this.#held}), moved AS (
        UPDATE spillway.cursors SET position = ${to}::text, frozen = ${frozen}::text::text[],
          divided_to = ${move.divided?.to ?? null}::text, divided_accepted = ${move.divided?.accepted ?? false}::boolean,
          updated_at = now()
        FROM held WHERE destination_id = ${destinationId}::bigint AND log_type = ${logType}::text AND position = ${from}::text
          AND life = ${life}::text::uuid
          AND frozen = ${arrayLiteral(move.fromFrozen)}::text::text[]
          AND (SELECT set_config('synchronous_commit', ${move.durable ? 'on' : 'off'}::text, true)) IS NOT NULL
        RETURNING 1
      ), ledger AS (
        SELECT ${ledger}::text::jsonb AS entries FROM moved
      ), skipped AS (
        INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
        SELECT ${destinationId}::bigint, ${logType}::text, s."from", s."to", s.count, s.reason
        FROM ledger, jsonb_to_recordset(entries->'skipped') AS s("from" text, "to" text, count bigint, reason text)
      ), dead AS (
        INSERT INTO spillway.dead_letters (destination_id, log_type, event_id, provider, status, reason)
        SELECT DISTINCT ON (d.event_id) ${destinationId}::bigint, ${logType}::text, d.event_id,
               (SELECT type FROM spillway.destinations WHERE id = ${destinationId}::bigint), d.status, d.reason
        FROM ledger, jsonb_to_recordset(entries->'dead') AS d(event_id text, status int, reason text)
        -- An event that was refused, before what says that it was sent in the stead of another row.
        ORDER BY d.event_id, d.reason LIKE 'duplicate\\_id:%'
        ON CONFLICT (destination_id, event_id) DO UPDATE
          SET provider = excluded.provider, status = excluded.status, reason = excluded.reason, life = excluded.life,
              created_at = now(), resolved_at = NULL
      ), well AS (
        UPDATE spillway.delivery_state SET ${counters}, ${becomesWell(this.#sql)}
        FROM moved WHERE destination_id = ${destinationId}::bigint AND ${move.accepted}::bigint > 0
      ), counted AS (
        UPDATE spillway.delivery_state SET ${counters}
        FROM moved WHERE destination_id = ${destinationId}::bigint AND ${move.accepted}::bigint = 0
          AND ${skipped + dead}::bigint > 0
      )
      SELECT count(*) AS moved FROM moved`
    if (row?.moved === '1') return
    // A repeated write finds its own work done.
    const [there] = await this.#sql<{ position: string; frozen: string }[]>`
      SELECT position, to_json(frozen)::text AS frozen FROM spillway.cursors
      WHERE destination_id = ${destinationId} AND log_type = ${logType} AND life = ${life}::text::uuid`
    if (there?.position === to && sameEnds(there.frozen, move.frozen)) return
    throw new LeaseLostError(
      there
        ? `the cursor of destination ${destinationId} on ${logType} stands at ${there.position} (expected ${from}), or its lease has ended`
        : `the cursor of destination ${destinationId} on ${logType} is gone`,
    )
  }

  /** Records a failure, unless the destination's row has been edited since the attempt began. */
  async saveFailure(destinationId: number, revision: string, health: Health, error: string): Promise<void> {
    await this.#sql`
      UPDATE spillway.delivery_state SET
        status = ${health.status}, consecutive_failures = ${health.consecutiveFailures},
        first_failed_at = ${instant(health.firstFailedAt)}::text::timestamptz,
        next_attempt_at = ${instant(health.nextAttemptAt)}::text::timestamptz,
        last_error = ${error}, last_error_at = ${instant(health.lastErrorAt)}::text::timestamptz
      FROM (${this.#held}) held, (${this.#unedited(destinationId, revision)}) d WHERE destination_id = d.id`
  }

  /** Disables a destination whose endpoint asked for it, unless its row has been edited since. */
  async disable(destinationId: number, revision: string, error: string): Promise<void> {
    await this.#sql`
      WITH done AS (
        UPDATE spillway.destinations SET enabled = false FROM (${this.#held}) held
        WHERE id = ${destinationId} AND version || '/' || changed_xid = ${revision} RETURNING id
      )
      UPDATE spillway.delivery_state SET last_error = ${error}, last_error_at = now()
      FROM done WHERE destination_id = done.id`
  }

  /** The row cannot be used; `error` names every bad field. */
  async markInvalid(destinationId: number, revision: string, error: string): Promise<void> {
    await this.#sql`
      UPDATE spillway.delivery_state SET
        status = 'invalid', next_attempt_at = NULL, last_error = ${error}, last_error_at = now()
      FROM (${this.#held}) held, (${this.#unedited(destinationId, revision)}) d WHERE destination_id = d.id`
  }

  /** The row can be used again. */
  async markUsable(destinationId: number): Promise<void> {
    await this.#sql`
      UPDATE spillway.delivery_state SET status = 'active', last_error = NULL, last_error_at = NULL FROM (${this.#held}) held
      WHERE destination_id = ${destinationId} AND status = 'invalid'`
  }

  /** The time it was disabled has been judged for a log type. */
  async clearDisabledTime(destinationId: number, logType: string): Promise<void> {
    await this.#sql`
      UPDATE spillway.cursors SET disabled_for_ms = NULL FROM (${this.#held}) held
      WHERE destination_id = ${destinationId} AND log_type = ${logType}`
  }

  /**
   * The destination's row as long as it is the one that was acted on. The lock makes an edit that is being
   * written go first, and takes the rows in the order in which the edit's own triggers do.
   */
  #unedited(destinationId: number, revision: string) {
    return this.#sql`
      SELECT id FROM spillway.destinations
      WHERE id = ${destinationId} AND version || '/' || changed_xid = ${revision} AND ${impatiently(this.#sql)} FOR SHARE`
  }
}

function sameEnds(json: string, ends: readonly Position[]): boolean {
  return JSON.stringify(JSON.parse(json)) === JSON.stringify(ends)
}
