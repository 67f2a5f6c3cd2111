/** What a batch's fate means for a cursor. */
import type { Sql } from '../db/client.ts'
import type { Position } from '../sources/position.ts'
import type { DeadLetter, SkippedRange } from './batch.ts'
import type { Divided } from './cursor.ts'

/** From one place to another, with what is frozen beyond it and what was refused on the way: of a cursor or of a replay's range. */
export interface Move {
  readonly destinationId: number
  readonly logType: string
  readonly life: string
  /** Where it stands; anything else means somebody else moved it. */
  readonly from: Position
  readonly fromFrozen: readonly Position[]
  readonly to: Position
  /** Ends of the batches that are frozen beyond `to`, in order. */
  readonly frozen: readonly Position[]
  readonly divided: Divided | undefined
  readonly deadLetters: readonly DeadLetter[]
}

export interface CursorMove extends Move {
  readonly skipped: readonly SkippedRange[]
  /** Events that were accepted: with any, the destination is well. */
  readonly accepted: number
  /** Wait for the disk. */
  readonly durable: boolean
}

/** Of `delivery_state`, for a destination that has accepted a batch. */
export function becomesWell(sql: Sql) {
  return sql`status = CASE WHEN status IN ('disabled', 'invalid') THEN status ELSE 'active' END,
    consecutive_failures = 0, first_failed_at = NULL, next_attempt_at = NULL, last_success_at = now()`
}
