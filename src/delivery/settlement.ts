/** What settling a batch, or the first part of one, writes down (I1, I5). Pure. */
import { comparePositions, type Position } from '../sources/position.ts'
import type { Batch, DeadLetter, SkippedRange } from './batch.ts'
import type { RefusedEvent } from './decide.ts'

export interface Settlement {
  /** Where the cursor goes. */
  readonly to: Position
  readonly skipped: readonly SkippedRange[]
  readonly deadLetters: readonly DeadLetter[]
  /** Events that the destination took. */
  readonly accepted: number
}

/** Settles the first `count` events of a batch, `refused` among them as dead letters. */
export function settlementOf(batch: Batch, count: number, refused: readonly RefusedEvent[]): Settlement {
  const whole = count >= batch.events.length
  const to = whole ? batch.to : (batch.positions[count - 1] ?? batch.from)
  const settled = ({ position }: { readonly position: Position }) => comparePositions(position, to) <= 0
  const refusals = refused.flatMap(({ index, reason }): DeadLetter[] => {
    const event = batch.events[index]
    const position = batch.positions[index]
    if (event === undefined || position === undefined) return []
    return [{ position, eventId: event.id, code: reason.code, message: reason.message }]
  })
  return {
    to,
    skipped: batch.skipped.filter((range) => settled({ position: range.to })),
    deadLetters: [...batch.deadLetters.filter(settled), ...refusals],
    accepted: count - refusals.length,
  }
}
