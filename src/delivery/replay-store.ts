/**
 * What replays write down, under the lease of their destination's shard. As with cursors, every move of a range is one statement that names the position and the
 * frozen ends it expects (I3, I4), together with the records of what became of the events (I5). It also names the
 * life of the source, so that no position is taken for a place in another one. No cursor is ever written here.
 */
import type { Sql } from '../db/client.ts'
import { LeaseLostError } from '../errors.ts'
import type { Position } from '../sources/position.ts'
import { arrayLiteral, type Divided, epochMs, instant } from './cursor.ts'
import type { Move } from './cursor-move.ts'
import type { Health } from './decide.ts'
import { heldRow, type Lease } from './lease.ts'
import { sendable } from './replay-facts.ts'

export type ReplayKind = 'range' | 'since' | 'dead_letters' | 'skipped'

/** A replay that waits or runs. Instants are epoch milliseconds of the database's clock. */
export interface Replay {
  readonly id: number
  /** Of its destination. */
  readonly shard: number
  readonly destinationId: number
  readonly kind: ReplayKind
  readonly logType: string | null
  readonly from: Position | null
  readonly to: Position | null
  /** ISO 8601. */
  readonly since: string | null
  readonly until: string | null
  readonly skippedId: number | null
  readonly state: 'waiting' | 'running'
  readonly consecutiveFailures: number
  readonly firstFailedAt: number | null
  readonly nextAttemptAt: number | null
  readonly lastError: string | null
  readonly lastErrorAt: number | null
  readonly expected: number | null
  /** Null when the destination is gone. */
  readonly destinationStatus: string | null
  /** What holds the live stream back. */
  readonly liveNextAttemptAt: number | null
  readonly liveError: string | null
}

/** Of one log type; positions of dead letters are their ids. */
export interface ReplayRange {
  readonly logType: string
  /** Of the source. */
  readonly life: string
  readonly from: Position
  readonly to: Position
  readonly position: Position
  readonly frozen: readonly Position[]
  /** As for cursors. */
  readonly divided: Divided | undefined
}

export interface RangeMove extends Move {
  readonly replayId: number
  /** Ids of the events that were accepted. */
  readonly accepted: readonly string[]
  readonly tooOld: number
}

export interface ReplayResult {
  readonly state: Replay['state'] | 'done' | 'failed' | 'cancelled'
  readonly sent: number
  readonly refused: number
  readonly tooOld: number
  readonly missing: number
  readonly durationMs: number
  readonly lastError: string | null
}

/** Who waits for what, over all destinations. */
export class ReplayQueue {
  readonly #sql: Sql

  constructor(sql: Sql) {
    this.#sql = sql
  }

  under(lease: Lease): ReplayStore {
    return new ReplayStore(this.#sql, lease)
  }

  /** Of each destination in these shards the first replay that has not ended. */
  async active(shards: readonly number[]): Promise<Replay[]> {
    const [row] = await this.#sql<{ replays: string }[]>`
      SELECT coalesce(json_agg(json_build_object(
        'id', r.id, 'shard', spillway.shard_of(r.destination_id), 'destinationId', r.destination_id,
        'kind', r.kind, 'logType', r.log_type,
        'from', r.from_position, 'to', r.to_position, 'since', r.since, 'until', r.until,
        'skippedId', r.skipped_id, 'state', r.state, 'consecutiveFailures', r.consecutive_failures,
        'firstFailedAt', ${epochMs(this.#sql, 'r.first_failed_at')}, 'nextAttemptAt', ${epochMs(this.#sql, 'r.next_attempt_at')},
        'lastError', r.last_error, 'lastErrorAt', ${epochMs(this.#sql, 'r.last_error_at')}, 'expected', r.events_expected,
        'destinationStatus', s.status, 'liveNextAttemptAt', ${epochMs(this.#sql, 's.next_attempt_at')},
        'liveError', s.last_error) ORDER BY r.id), '[]')::text AS replays
      FROM (SELECT DISTINCT ON (destination_id) * FROM spillway.replays
            WHERE state IN ('waiting', 'running')
              AND spillway.shard_of(destination_id) = ANY (${arrayLiteral(shards.map(String))}::text::smallint[])
            ORDER BY destination_id, id) r
      LEFT JOIN spillway.delivery_state s ON s.destination_id = r.destination_id`
    return JSON.parse(row?.replays ?? '[]') as Replay[] // built by the statement
  }

  /** Undefined when the row is gone. */
  async result(id: number): Promise<ReplayResult | undefined> {
    const [row] = await this.#sql<ResultRow[]>`
      SELECT state, events_sent, events_refused, events_too_old, events_missing, last_error,
             (extract(epoch FROM coalesce(finished_at, now()) - coalesce(started_at, now())) * 1000)::float8 AS duration_ms
      FROM spillway.replays WHERE id = ${id}`
    return (
      row && {
        state: row.state,
        sent: Number(row.events_sent),
        refused: Number(row.events_refused),
        tooOld: Number(row.events_too_old),
        missing: Number(row.events_missing),
        durationMs: row.duration_ms,
        lastError: row.last_error,
      }
    )
  }
}

/** The writes of one destination's replays. */
export class ReplayStore {
  readonly #sql: Sql
  readonly lease: Lease

  constructor(sql: Sql, lease: Lease) {
    this.#sql = sql
    this.lease = lease
  }

  get #held() {
    return heldRow(this.#sql, this.lease)
  }

  /** Stores what was planned, and begins. Safe to repeat. */
  async begin(
    id: number,
    ranges: readonly Pick<ReplayRange, 'logType' | 'life' | 'from' | 'to'>[],
    expected: number | undefined,
  ): Promise<void> {
    await this.#sql`
      WITH begun AS (
        UPDATE spillway.replays
        SET state = 'running', started_at = now(), events_expected = ${expected ?? null}::bigint, last_error = NULL
        FROM (${this.#held}) held WHERE id = ${id} AND state = 'waiting' RETURNING id
      )
      INSERT INTO spillway.replay_ranges (replay_id, log_type, life, from_position, to_position, position)
      SELECT begun.id, g."logType", g.life, g."from", g."to", g."from"
      FROM begun, jsonb_to_recordset(${JSON.stringify(ranges)}::text::jsonb)
        AS g("logType" text, life uuid, "from" text, "to" text)`
  }

  async ranges(id: number): Promise<ReplayRange[]> {
    const rows = await this.#sql<RangeRow[]>`
      SELECT log_type, life::text AS life, from_position, to_position, position, to_json(frozen)::text AS frozen,
             divided_to, divided_accepted
      FROM spillway.replay_ranges WHERE replay_id = ${id} ORDER BY log_type`
    return rows.map((row) => ({
      logType: row.log_type,
      life: row.life,
      from: row.from_position,
      to: row.to_position,
      position: row.position,
      frozen: JSON.parse(row.frozen) as Position[], // built by the statement
      divided: row.divided_to === null ? undefined : { to: row.divided_to, accepted: row.divided_accepted },
    }))
  }

  /**
   * Throws `LeaseLostError` when the replay has ended, the source has begun another life, or the range is not where it
   * should be. Safe to repeat. Events that were accepted are no dead letters any more.
   */
  async move(move: RangeMove): Promise<void> {
    const { replayId, destinationId, logType, life, from, to, divided } = move
    const dead = move.deadLetters.map(({ eventId, code, status, message }) => ({
      event_id: eventId,
      status,
      reason: `${code}: ${message}`,
      is_duplicate: code === 'duplicate_id',
    }))
    const [row] = await this.#sql<{ moved: string }[]>`
      WITH held AS (${this.#held}), moved AS (
        UPDATE spillway.replay_ranges g
        SET position = ${to}::text, frozen = ${arrayLiteral(move.frozen)}::text::text[],
            divided_to = ${divided?.to ?? null}::text, divided_accepted = ${divided?.accepted ?? false}::boolean
        FROM held, spillway.replays r, spillway.sources s
        WHERE g.replay_id = ${replayId}::bigint AND g.log_type = ${logType}::text AND g.position = ${from}::text
          AND g.frozen = ${arrayLiteral(move.fromFrozen)}::text::text[] AND g.life = ${life}::text::uuid
          AND r.id = g.replay_id AND r.state = 'running' AND s.log_type = g.log_type AND s.life = g.life
        RETURNING 1
      ), counted AS (
        UPDATE spillway.replays SET
          events_sent = events_sent + ${move.accepted.length}::bigint,
          events_refused = events_refused + ${dead.length}::bigint,
          events_too_old = events_too_old + ${move.tooOld}::bigint,
          consecutive_failures = CASE WHEN ${move.accepted.length}::int > 0 THEN 0 ELSE consecutive_failures END,
          first_failed_at = CASE WHEN ${move.accepted.length}::int > 0 THEN NULL ELSE first_failed_at END,
          next_attempt_at = CASE WHEN ${move.accepted.length}::int > 0 THEN NULL ELSE next_attempt_at END,
          last_error = CASE WHEN ${move.accepted.length}::int > 0 THEN NULL ELSE last_error END
        FROM moved WHERE id = ${replayId}::bigint AND ${move.accepted.length + dead.length + move.tooOld > 0}::boolean
      ), dead AS (
        INSERT INTO spillway.dead_letters AS d (destination_id, log_type, event_id, provider, status, reason)
        SELECT DISTINCT ON (e.event_id) ${destinationId}::bigint, ${logType}::text, e.event_id,
               (SELECT type FROM spillway.destinations WHERE id = ${destinationId}::bigint), e.status, e.reason
        FROM moved, jsonb_to_recordset(${JSON.stringify(dead)}::text::jsonb)
          AS e(event_id text, status int, reason text, is_duplicate boolean)
        -- Another row with the id: what became of the one that was sent stands.
        WHERE NOT (e.is_duplicate AND EXISTS (
          SELECT FROM spillway.dead_letters there
          WHERE there.destination_id = ${destinationId}::bigint AND there.event_id = e.event_id))
        ORDER BY e.event_id, e.is_duplicate
        ON CONFLICT (destination_id, event_id) DO UPDATE
        SET provider = excluded.provider, status = excluded.status, reason = excluded.reason, life = excluded.life, resolved_at = NULL,
            created_at = CASE WHEN d.resolved_at IS NULL THEN d.created_at ELSE excluded.created_at END
      ), resolved AS (
        UPDATE spillway.dead_letters d SET resolved_at = now()
        FROM moved, jsonb_array_elements_text(${JSON.stringify(move.accepted)}::text::jsonb) AS a(event_id)
        WHERE d.destination_id = ${destinationId}::bigint AND d.event_id = a.event_id AND d.life = ${life}::text::uuid
          AND ${this.#sql.unsafe(sendable)}
      )
      SELECT count(*) AS moved FROM moved`
    if (row?.moved === '1') return
    // A repeated write finds its own work done.
    const there = (await this.ranges(replayId)).find((range) => range.logType === logType)
    const isThere = there?.position === to && JSON.stringify(there.frozen) === JSON.stringify(move.frozen)
    if (isThere && there.divided?.to === divided?.to && there.divided?.accepted === divided?.accepted) return
    throw new LeaseLostError(
      `replay ${replayId} of ${logType} is not at ${from}, not the same any more, or its lease has ended`,
    )
  }

  async saveFailure(id: number, health: Health, error: string): Promise<void> {
    await this.#sql`
      UPDATE spillway.replays SET
        consecutive_failures = ${health.consecutiveFailures},
        first_failed_at = ${instant(health.firstFailedAt)}::text::timestamptz,
        next_attempt_at = ${instant(health.nextAttemptAt)}::text::timestamptz,
        last_error = ${error}, last_error_at = now()
      FROM (${this.#held}) held WHERE id = ${id} AND state = 'running'`
  }

  /** Why it does not go on at the moment; a failure counts towards the time that it is tried for. */
  async note(id: number, error: string, isFailure: boolean): Promise<void> {
    await this.#sql`
      UPDATE spillway.replays SET last_error = ${error}, last_error_at = now(),
        first_failed_at = CASE WHEN ${isFailure} THEN coalesce(first_failed_at, now()) ELSE first_failed_at END
      FROM (${this.#held}) held WHERE id = ${id} AND state IN ('waiting', 'running')`
  }

  /**
   * Everything was gone through. A skipped range is replayed when none of its events is missing; whether one is
   * cannot be known of rows that were deleted before they were read. Nothing happens where it had ended before.
   */
  async finish(id: number): Promise<void> {
    await this.#sql`
      WITH ended AS (
        UPDATE spillway.replays SET
          state = 'done', finished_at = now(), next_attempt_at = NULL, last_error = NULL,
          events_missing = coalesce(greatest(events_expected - events_sent - events_refused - events_too_old, 0), 0)
        FROM (${this.#held}) held WHERE id = ${id} AND state = 'running' RETURNING kind, skipped_id, events_missing, events_too_old
      )
      UPDATE spillway.skipped_ranges r SET replayed_at = now() FROM ended
      WHERE ended.kind = 'skipped' AND r.id = ended.skipped_id AND ended.events_missing = 0 AND ended.events_too_old = 0
        AND r.reason <> 'deleted_at_source'`
  }

  async fail(id: number, error: string): Promise<void> {
    await this.#sql`
      UPDATE spillway.replays
      SET state = 'failed', finished_at = now(), next_attempt_at = NULL, last_error = ${error}, last_error_at = now()
      FROM (${this.#held}) held WHERE id = ${id} AND state IN ('waiting', 'running')`
  }
}

interface RangeRow {
  readonly log_type: string
  readonly life: string
  readonly from_position: string
  readonly to_position: string
  readonly position: string
  readonly frozen: string
  readonly divided_to: string | null
  readonly divided_accepted: boolean
}

interface ResultRow {
  readonly state: ReplayResult['state']
  readonly events_sent: string
  readonly events_refused: string
  readonly events_too_old: string
  readonly events_missing: string
  readonly duration_ms: number
  readonly last_error: string | null
}

/** Of the replay itself; the live stream has its own. */
export function healthOf(replay: Replay): Health {
  return {
    status: replay.nextAttemptAt === null ? 'active' : 'backing_off',
    consecutiveFailures: replay.consecutiveFailures,
    firstFailedAt: replay.firstFailedAt ?? undefined,
    nextAttemptAt: replay.nextAttemptAt ?? undefined,
    lastErrorAt: replay.lastErrorAt ?? undefined,
  }
}
