/** What settling a batch, or a piece of one, writes down (I1, I5). Pure. */
import type { Reason } from '../../providers/provider.ts'
import type { Position } from '../sources/position.ts'
import type { Batch, DeadLetter, SkippedRange } from './batch.ts'

export interface Settlement {
  /** Where the cursor goes. */
  readonly to: Position
  readonly skipped: readonly SkippedRange[]
  readonly deadLetters: readonly DeadLetter[]
  /** Events that the destination took. */
  readonly accepted: number
}

/** An event that the destination refuses for good. */
export interface RefusedEvent {
  /** In its batch. */
  readonly index: number
  readonly reason: Reason
}

/** Settles a batch whose events were accepted, but for the refused ones, which become dead letters. */
export function settlementOf(batch: Batch, refused: readonly RefusedEvent[]): Settlement {
  const refusals = refused.flatMap(({ index, reason }): DeadLetter[] => {
    const event = batch.events[index]
    const position = batch.positions[index]
    if (event === undefined || position === undefined) return []
    const { code, message, status } = reason
    return [{ position, eventId: event.id, code, message, ...(status === undefined ? {} : { status }) }]
  })
  return {
    to: batch.to,
    skipped: batch.skipped,
    deadLetters: [...batch.deadLetters, ...refusals],
    accepted: batch.events.length - refusals.length,
  }
}

/** Of batches that follow each other, in their order. */
export function joinSettlements(
  first: Settlement | undefined,
  next: Settlement | undefined,
): Settlement | undefined {
  if (!first || !next) return next ?? first
  return {
    to: next.to,
    skipped: [...first.skipped, ...next.skipped],
    deadLetters: [...first.deadLetters, ...next.deadLetters],
    accepted: first.accepted + next.accepted,
  }
}
