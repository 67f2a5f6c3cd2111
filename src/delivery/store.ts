/**
 * What delivery writes down. Every write of a cursor is one statement that names the position and
 * the frozen ends it expects to find: a cursor moves forward only and by one writer (I3), together with the records of whatever was
 * not delivered (I1, I5), the bounds that are frozen next (I4) and the destination's counters, which are exact for it.
 *
 * A write that settles may be lost with the database's power: the batch is then repeated under its id.
 * A write that freezes must not be: it waits for the disk.
 */
import type { Sql } from '../db/client.ts'
import { LeaseLostError } from '../errors.ts'
import type { StartMark } from '../sources/order.ts'
import type { Position } from '../sources/position.ts'
import type { DeadLetter, SkippedRange } from './batch.ts'
import type { Health } from './decide.ts'

/** A refused batch that is being divided, over crashes and failures; see `Halving`. */
export interface Divided {
  /** Its end. */
  readonly to: Position
  /** Something of it was accepted: what is refused of it is to blame itself. */
  readonly accepted: boolean
}

export interface Cursor {
  /**
   * Made anew when the cursor is started or set anew: a position is no identity across two lives of a source, and
   * what was known of the former one must move nothing.
   */
  readonly life: string
  readonly position: Position
  readonly frozen: readonly Position[]
  readonly start?: StartMark
  readonly divided?: Divided
  /** How long the destination was disabled before it was enabled, while that has not been judged. */
  readonly disabledForMs?: number
}

export interface DestinationState {
  readonly health: Health
  /** The row was found invalid when it was last judged. */
  readonly invalid: boolean
  readonly cursors: ReadonlyMap<string, Cursor>
}

export interface CursorMove {
  readonly destinationId: number
  readonly logType: string
  readonly life: string
  /** Where the cursor stands; anything else means somebody else moved it. */
  readonly from: Position
  readonly fromFrozen: readonly Position[]
  readonly to: Position
  /** Ends of the batches that are frozen beyond `to`, in order. */
  readonly frozen: readonly Position[]
  readonly divided: Divided | undefined
  readonly skipped: readonly SkippedRange[]
  readonly deadLetters: readonly DeadLetter[]
  /** Events that were accepted: with any, the destination is well. */
  readonly accepted: number
  /** Wait for the disk. */
  readonly durable: boolean
}

/** A cursor that nothing is frozen beyond, and that has no rows up to `to`. */
export interface IdleMove {
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

export class DeliveryStore {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  /** State and cursors of destinations, as they are now. */
  async load(destinationIds: readonly number[]): Promise<Map<number, DestinationState>> {
    const rows = await this.#sql<StateRow[]>`
      SELECT s.destination_id::int8 AS id, s.status, s.consecutive_failures,
             ${this.#epochMs('s.first_failed_at')} AS first_failed_at,
             ${this.#epochMs('s.next_attempt_at')} AS next_attempt_at,
             ${this.#epochMs('s.last_error_at')} AS last_error_at,
             (SELECT jsonb_agg(jsonb_build_object(
                'logType', c.log_type, 'life', c.life, 'position', c.position, 'frozen', c.frozen,
                'divided', CASE WHEN c.divided_to IS NOT NULL THEN jsonb_build_object('to', c.divided_to, 'accepted', c.divided_accepted) END,
                'startUntil', c.start_until,
                'startXid', c.start_xid::text, 'startSeen', c.start_seen::text, 'startSnapshot', c.start_snapshot::text,
                'disabledForMs', c.disabled_for_ms))
              FROM spillway.cursors c WHERE c.destination_id = s.destination_id)::text AS cursors
      FROM spillway.delivery_state s
      WHERE s.destination_id IN (SELECT value::bigint FROM jsonb_array_elements_text(${JSON.stringify(destinationIds)}::text::jsonb))`
    return new Map(rows.map((row) => [Number(row.id), toState(row)]))
  }

  /** Starts a cursor; returns the one that was there already, if there was. */
  async seed(destinationId: number, logType: string, position: Position): Promise<Cursor> {
    await this.#sql`
      INSERT INTO spillway.cursors (destination_id, log_type, position)
      SELECT id, ${logType}::text, ${position}::text FROM spillway.destinations WHERE id = ${destinationId}
      ON CONFLICT DO NOTHING`
    const cursor = (await this.load([destinationId])).get(destinationId)?.cursors.get(logType)
    if (!cursor) throw new LeaseLostError(`destination ${destinationId} was deleted`)
    return cursor
  }

  /** Throws `LeaseLostError` when the cursor is not where it should be. Safe to repeat. */
  async move(move: CursorMove): Promise<void> {
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
      WITH moved AS (
        UPDATE spillway.cursors SET position = ${to}::text, frozen = ${frozen}::text::text[],
          divided_to = ${move.divided?.to ?? null}::text, divided_accepted = ${move.divided?.accepted ?? false}::boolean,
          updated_at = now()
        WHERE destination_id = ${destinationId}::bigint AND log_type = ${logType}::text AND position = ${from}::text
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
        UPDATE spillway.delivery_state SET ${counters},
          status = CASE WHEN status IN ('disabled', 'invalid') THEN status ELSE 'active' END,
          consecutive_failures = 0, first_failed_at = NULL, next_attempt_at = NULL, last_success_at = now()
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
        ? `the cursor of destination ${destinationId} on ${logType} stands at ${there.position}, not at ${from}`
        : `the cursor of destination ${destinationId} on ${logType} is gone`,
    )
  }

  /**
   * Moves cursors over positions at which their destinations have no rows, unless something was frozen or
   * moved meanwhile. Without it the time between two runs would look like a backlog.
   */
  async advance(moves: readonly IdleMove[]): Promise<void> {
    if (moves.length === 0) return
    const rows = moves.map(({ destinationId, logType, life, from, to }, index) => ({
      index,
      life,
      destination_id: destinationId,
      log_type: logType,
      from,
      to,
    }))
    const moved = await this.#sql<{ index: number }[]>`
      UPDATE spillway.cursors c SET position = m."to", updated_at = now()
      FROM jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb)
        AS m(index int, life uuid, destination_id bigint, log_type text, "from" text, "to" text)
      WHERE c.destination_id = m.destination_id AND c.log_type = m.log_type AND c.position = m."from" AND c.life = m.life
        AND c.frozen = '{}' AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
      RETURNING m.index`
    for (const { index } of moved) moves[index]?.done()
  }

  /** Records a failure, unless the destination's row has been edited since the attempt began. */
  async saveFailure(destinationId: number, revision: string, health: Health, error: string): Promise<void> {
    await this.#sql`
      UPDATE spillway.delivery_state SET
        status = ${health.status}, consecutive_failures = ${health.consecutiveFailures},
        first_failed_at = ${instant(health.firstFailedAt)}::text::timestamptz,
        next_attempt_at = ${instant(health.nextAttemptAt)}::text::timestamptz,
        last_error = ${error}, last_error_at = ${instant(health.lastErrorAt)}::text::timestamptz
      FROM (${this.#unedited(destinationId, revision)}) d WHERE destination_id = d.id`
  }

  /** Disables a destination whose endpoint asked for it, unless its row has been edited since. */
  async disable(destinationId: number, revision: string, error: string): Promise<void> {
    await this.#sql`
      WITH done AS (
        UPDATE spillway.destinations SET enabled = false
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
      FROM (${this.#unedited(destinationId, revision)}) d WHERE destination_id = d.id`
  }

  /** The row can be used again. */
  async markUsable(destinationId: number): Promise<void> {
    await this.#sql`
      UPDATE spillway.delivery_state SET status = 'active', last_error = NULL, last_error_at = NULL
      WHERE destination_id = ${destinationId} AND status = 'invalid'`
  }

  /** How far destinations are behind; null where that is not known. Writes only what is new. */
  async saveLags(lags: readonly Lag[]): Promise<void> {
    const rows = lags.map(({ destinationId: id, events, seconds }) => ({ id, events, seconds }))
    await this.#sql`
      UPDATE spillway.delivery_state s SET lag_events = l.events, lag_seconds = l.seconds, lag_at = now()
      FROM jsonb_to_recordset(${JSON.stringify(rows)}::text::jsonb) AS l(id bigint, events bigint, seconds float8)
      WHERE s.destination_id = l.id AND (s.lag_events, s.lag_seconds) IS DISTINCT FROM (l.events, l.seconds)
        AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL`
  }

  /** The time it was disabled has been judged for a log type. */
  async clearDisabledTime(destinationId: number, logType: string): Promise<void> {
    await this.#sql`
      UPDATE spillway.cursors SET disabled_for_ms = NULL
      WHERE destination_id = ${destinationId} AND log_type = ${logType}`
  }

  /**
   * The destination's row as long as it is the one that was acted on. The lock makes an edit that is being
   * written go first, and takes the rows in the order in which the edit's own triggers do.
   */
  #unedited(destinationId: number, revision: string) {
    return this.#sql`
      SELECT id FROM spillway.destinations
      WHERE id = ${destinationId} AND version || '/' || changed_xid = ${revision} FOR SHARE`
  }

  #epochMs(column: string) {
    return this.#sql.unsafe(`(extract(epoch FROM ${column}) * 1000)::float8`)
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

interface CursorJson {
  readonly logType: string
  readonly life: string
  readonly position: string
  readonly frozen: string[]
  readonly divided: Divided | null
  readonly startUntil: string | null
  readonly startXid: string | null
  readonly startSeen: string | null
  readonly startSnapshot: string | null
  readonly disabledForMs: number | null
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

function toCursor(json: CursorJson): Cursor {
  const { life, position, frozen, divided, disabledForMs } = json
  const start = startMark(json)
  return {
    life,
    position,
    frozen,
    ...(start ? { start } : {}),
    ...(divided === null ? {} : { divided }),
    ...(disabledForMs === null ? {} : { disabledForMs }),
  }
}

export function startMark({
  startUntil: until,
  startXid,
  startSeen,
  startSnapshot,
}: Pick<CursorJson, 'startUntil' | 'startXid' | 'startSeen' | 'startSnapshot'>): StartMark | undefined {
  if (until === null) return undefined
  if (startSnapshot !== null) return { kind: 'snapshot', until, snapshot: startSnapshot }
  if (startXid === null || startSeen === null) return undefined
  return { kind: 'ids', until, xid: startXid, seen: startSeen }
}

function sameEnds(json: string, ends: readonly Position[]): boolean {
  return JSON.stringify(JSON.parse(json)) === JSON.stringify(ends)
}

export function instant(epochMs: number | undefined): string | null {
  return epochMs === undefined ? null : new Date(epochMs).toISOString()
}

/** A PostgreSQL array literal; the keys in positions may be any text. */
export function arrayLiteral(positions: readonly string[]): string {
  const quoted = positions.map((position) =>
    /^[\d-]+$/.test(position) ? position : `"${position.replace(/["\\]/g, '\\$&')}"`,
  )
  return `{${quoted.join(',')}}`
}
