/**
 * Moves of cursors, those of many destinations in one statement. A move is what `DeliveryStore.move` says; here go
 * those that leave nothing to be recorded. Rows that are locked by somebody are left out instead of waited for, so
 * that the statement waits for nothing and cannot be part of a deadlock.
 */
import type { Sql } from '../db/client.ts'
import { dispatched } from '../db/dispatched.ts'
import { becomesWell, type CursorMove } from './cursor-move.ts'
import { GroupCommit, type Written } from './group-commit.ts'
import { heldRows, type Lease } from './lease.ts'

interface LeasedMove {
  readonly lease: Lease
  readonly move: CursorMove
}

/** Some tens of milliseconds of the database's time. */
const mostMoves = 500

export class CursorMoves {
  readonly #sql: Sql
  readonly #group: GroupCommit<LeasedMove>

  constructor(sql: Sql) {
    this.#sql = sql
    this.#group = new GroupCommit({ largest: mostMoves, write: (moves) => this.#write(moves) })
  }

  /** False where the move has to be made alone. `onDispatched`: it is on its way, and outlives this process. */
  async make(lease: Lease, move: CursorMove, onDispatched?: () => void): Promise<boolean> {
    if (move.skipped.length > 0 || move.deadLetters.length > 0) return false
    return this.#group.write({ lease, move }, onDispatched)
  }

  #write(moves: readonly LeasedMove[]): Written {
    const sql = this.#sql
    const leases = [...new Set(moves.map(({ lease }) => lease))]
    const wanted = moves.map(({ lease: { shard, epoch }, move }, index) => ({
      index,
      shard,
      epoch,
      destination_id: move.destinationId,
      log_type: move.logType,
      life: move.life,
      from: move.from,
      from_frozen: move.fromFrozen,
      to: move.to,
      frozen: move.frozen,
      divided_to: move.divided?.to,
      divided_accepted: move.divided?.accepted ?? false,
      accepted: move.accepted,
    }))
    const isDurable = moves.some(({ move }) => move.durable)
    const moved = sql<{ index: number }[]>`
      WITH held AS MATERIALIZED (${heldRows(sql, leases)} SKIP LOCKED), free AS MATERIALIZED (
        SELECT m.*
        FROM held
        JOIN jsonb_to_recordset(${JSON.stringify(wanted)}::text::jsonb) AS m(
          index int, shard smallint, epoch bigint, destination_id bigint, log_type text, life uuid, "from" text, from_frozen text[],
          "to" text, frozen text[], divided_to text, divided_accepted boolean, accepted bigint)
          ON m.shard = held.shard AND m.epoch = held.epoch
        JOIN spillway.cursors c
          ON c.destination_id = m.destination_id AND c.log_type = m.log_type AND c.position = m."from" AND c.life = m.life
            AND c.frozen = m.from_frozen
        WHERE (SELECT set_config('synchronous_commit', ${isDurable ? 'on' : 'off'}::text, true)) IS NOT NULL
        FOR NO KEY UPDATE OF c SKIP LOCKED
      ), countable AS MATERIALIZED (
        SELECT s.destination_id FROM spillway.delivery_state s
        WHERE s.destination_id IN (SELECT destination_id FROM free WHERE accepted > 0)
        FOR NO KEY UPDATE OF s SKIP LOCKED
      ), moved AS (
        UPDATE spillway.cursors c SET position = m."to", frozen = m.frozen, divided_to = m.divided_to,
          divided_accepted = m.divided_accepted, updated_at = now()
        FROM free m WHERE c.destination_id = m.destination_id AND c.log_type = m.log_type
          AND (m.accepted = 0 OR m.destination_id IN (SELECT destination_id FROM countable))
        RETURNING m.index, m.destination_id, m.accepted
      ), well AS (
        UPDATE spillway.delivery_state s SET events_delivered = events_delivered + a.events,
          batches_delivered = batches_delivered + a.batches, ${becomesWell(sql)}
        FROM (
          SELECT destination_id, sum(accepted)::bigint AS events, count(*) AS batches FROM moved WHERE accepted > 0
          GROUP BY destination_id
        ) a WHERE s.destination_id = a.destination_id
      )
      SELECT index FROM moved`
    return {
      done: moved.then((rows) => new Set(rows.map(({ index }) => index))),
      dispatched: dispatched(moved),
    }
  }
}
