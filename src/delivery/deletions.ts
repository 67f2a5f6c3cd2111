/**
 * Notices rows that the application deleted before they were sent (I5). A gap in the positions alone says
 * nothing: a transaction that rolled back leaves one too. So it is judged by the table's first row: when that
 * has moved beyond what was read, while rows were known to wait, some of them may be gone.
 *
 * Pure.
 */
import { comparePositions, earlierOf, type Position, placeBefore } from '../sources/position.ts'
import type { Oldest } from '../sources/reader.ts'

export class Deletions {
  /** The table's first row when it became known that rows wait; undefined where that is not known. */
  #oldest: () => Oldest
  #waiting = true
  /** The first row that was read and is not settled. */
  #first: Position | undefined

  /** `oldest` tells the first row when the stream was last known to be at work. */
  constructor(oldest: () => Oldest) {
    this.#oldest = oldest
  }

  /** Rows may wait, from now on. */
  woken(oldest: Oldest): void {
    if (this.#waiting) return
    this.#waiting = true
    this.#oldest = () => oldest
  }

  /** Everything was read and settled. */
  caughtUp(): void {
    this.#waiting = false
    this.#first = undefined
  }

  /** What was read could not be settled; `first` is where it began. */
  left(first: Position | undefined): void {
    this.#first = first ?? this.#first
  }

  /**
   * Up to where rows after `from` may have been deleted, given the table's first row now; undefined when there
   * is no sign of it. `upTo`: how far was read.
   */
  find(from: Position, now: Oldest, upTo: Position): Position | undefined {
    if (now === undefined) return undefined
    const before = this.#oldest()
    // Beyond what was read rows may still appear.
    const gone = now === null ? upTo : earlierOf(placeBefore(now), upTo)
    if (comparePositions(gone, from) <= 0) return undefined
    if (this.#first !== undefined) {
      return now === null || comparePositions(now, this.#first) > 0 ? gone : undefined
    }
    // A table that was empty, or began there already, has lost nothing.
    if (before === null) return undefined
    if (before === undefined) return now === null ? undefined : gone
    return now === null || comparePositions(now, before) > 0 ? gone : undefined
  }
}
