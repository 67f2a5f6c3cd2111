/** What is read and written of many destinations at once; `under` a lease, `DeliveryStore` writes what one of them did. */
import type { Sql } from '../db/client.ts'
import { LeaseLostError } from '../errors.ts'
import type { Position } from '../sources/position.ts'
import { type Cursor, type CursorJson, epochMs, toCursor } from './cursor.ts'
import { CursorMoves } from './cursor-moves.ts'
import type { Health } from './decide.ts'
import { heldRows, type Lease, type LeaseName } from './lease.ts'
import { DeliveryStore } from './store.ts'

export interface DestinationState {
  readonly health: Health
  /** The row was found invalid when it was last judged. */
  readonly invalid: boolean
  readonly cursors: ReadonlyMap<string, Cursor>
}

/** A cursor that nothing is frozen beyond, and that has no rows up to `to`. */
export interface IdleMove {
  readonly lease: Lease
  readonly destinationId: number
  readonly logType: string
  readonly life: string
  readonly from: Position
  readonly to: Position
  /** Called when it was moved. */
  done(): void
}

/** How far a destination is behind; both null where that is not known. */
export interface Lag {
  readonly destinationId: number
  readonly events: number | null
  readonly seconds: number | null
}

export class FleetStore {
  readonly #sql: Sql
  readonly #moves: CursorMoves

  constructor(sql: Sql) {
    this.#sql = sql
    this.#moves = new CursorMoves(sql)
  }

  under(lease: Lease): DeliveryStore {
    return new DeliveryStore(this.#sql, this.#moves, lease)
  }

  /** State and cursors of destinations, as they are now. */
  async load(destinationIds: readonly number[]): Promise<Map<number, DestinationState>> {
    const rows = await this.#sql<StateRow[]>`
      SELECT s.destination_id::int8 AS id, s.status, s.consecutive_failures,
             ${epochMs(this.#sql, 's.first_failed_at')} AS first_failed_at,
             ${epochMs(this.#sql, 's.next_attempt_at')} AS next_attempt_at,
             ${epochMs(this.#sql, 's.last_error_at')} AS last_error_at,
             (SELECT jsonb_agg(jsonb_build_object(
                'logType', c.log_type, 'life', c.life, 'position', c.position, 'frozen', c.frozen,
                'divided', CASE WHEN c.divided_to IS NOT NULL THEN jsonb_build_object('to', c.divided_to, 'accepted', c.divided_accepted) END,
                'startUntil', c.start_until,
                'startXid', c.start_xid::text, 'startSeen', c.start_seen::text, 'startSnapshot', c.start_snapshot::text,
                'rowsWait', s.lag_events > 0 AND s.lag_at > c.updated_at, 'disabledForMs', c.disabled_for_ms))
              FROM spillway.cursors c WHERE c.destination_id = s.destination_id)::text AS cursors
      FROM spillway.delivery_state s
      WHERE s.destination_id IN (SELECT value::bigint FROM jsonb_array_elements_text(${JSON.stringify(destinationIds)}::text::jsonb))`
    return new Map(rows.map((row) => [Number(row.id), toState(row)]))
  }

  /**
   * Moves cursors over positions at which their destinations have no rows, unless something was frozen or
   * moved meanwhile. Without it the time between two runs would look like a backlog. One that is locked stays where it is,
   * which is right too. Rejects with `LeaseLostError` where no lease is held any more: to return would say that the
   * database has answered.
   */
  async advance(moves: readonly IdleMove[]): Promise<void> {
    const leases = new Set(moves.map(({ lease }) => lease).filter(({ isHeld }) => isHeld))
    if (leases.size === 0) throw new LeaseLostError('the leases of the cursors have ended')
    const rows = moves.map(({ destinationId, logType, life, from, to }, index) => ({
      index,
      life,
      destination_id: destinationId,
      log_type: logType,
      from,
      to,
    }))
    const moved = await this.#sql<{ index: number }[]>`
      WITH held AS MATERIALIZED (${heldRows(this.#sql, [...leases])}), free AS (
        SELECT c.destination_id, c.log_type, m.index, m."to"
        FROM held, spillway.cursors c, jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb)
          AS m(index int, life uuid, destination_id bigint, log_type text, "from" text, "to" text)
        WHERE held.shard = spillway.shard_of(m.destination_id)
          AND c.destination_id = m.destination_id AND c.log_type = m.log_type AND c.position = m."from" AND c.life = m.life
          AND c.frozen = '{}' AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
        FOR NO KEY UPDATE OF c SKIP LOCKED
      )
      UPDATE spillway.cursors c SET position = free."to", updated_at = now()
      FROM free WHERE c.destination_id = free.destination_id AND c.log_type = free.log_type
      RETURNING free.index`
    for (const { index } of moved) moves[index]?.done()
  }

  /** How far destinations are behind; null where that is not known. Writes only what is new, and is still ours to tell. */
  async saveLags(lags: readonly Lag[], leases: readonly LeaseName[]): Promise<void> {
    const rows = lags.map(({ destinationId: id, events, seconds }) => ({ id, events, seconds }))
    await this.#sql`
      WITH held AS MATERIALIZED (${heldRows(this.#sql, leases)})
      UPDATE spillway.delivery_state s SET lag_events = l.events, lag_seconds = l.seconds, lag_at = now()
      FROM held, jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) AS l(id bigint, events bigint, seconds float8)
      WHERE held.shard = spillway.shard_of(l.id) AND s.destination_id = l.id
        AND (s.lag_events, s.lag_seconds) IS DISTINCT FROM (l.events, l.seconds)
        AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL`
  }
}

interface StateRow {
  readonly id: string
  readonly status: 'active' | 'backing_off' | 'unauthorized' | 'invalid' | 'disabled'
  readonly consecutive_failures: number
  readonly first_failed_at: number | null
  readonly next_attempt_at: number | null
  readonly last_error_at: number | null
  readonly cursors: string | null
}

function toState(row: StateRow): DestinationState {
  // PostgreSQL built this text in the same statement.
  const cursors = row.cursors === null ? [] : (JSON.parse(row.cursors) as CursorJson[])
  return {
    health: {
      status: row.status === 'invalid' ? 'active' : row.status,
      consecutiveFailures: row.consecutive_failures,
      firstFailedAt: row.first_failed_at ?? undefined,
      nextAttemptAt: row.next_attempt_at ?? undefined,
      lastErrorAt: row.last_error_at ?? undefined,
    },
    invalid: row.status === 'invalid',
    cursors: new Map(cursors.map((cursor) => [cursor.logType, toCursor(cursor)])),
  }
}
