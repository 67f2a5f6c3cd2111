/** Moves of cursors, for tests that make them without a daemon. */
import type { CursorMove } from '../../src/delivery/cursor-move.ts'

/** From 0 to 10, with nothing left out and nothing beyond, but for `changes`. */
export function cursorMove(
  cursor: Pick<CursorMove, 'destinationId' | 'logType' | 'life'>,
  changes: Partial<CursorMove>,
): CursorMove {
  return {
    ...cursor,
    from: '0',
    fromFrozen: [],
    to: '10',
    frozen: [],
    divided: undefined,
    skipped: [],
    deadLetters: [],
    accepted: 0,
    durable: false,
    ...changes,
  }
}
