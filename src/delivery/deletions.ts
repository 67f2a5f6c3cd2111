/**
 * Notices rows that the application deleted before they were sent (I5). A gap in the positions alone says
 * nothing: a transaction that rolled back leaves one too. So it is judged by the table's first row: when that
 * has moved beyond what was read, and beyond a row that was known to wait, that one is gone. Where none is known
 * by its place, the table's first row of before stands for it: retention that runs before the next page is read
 * may then look like a deletion.
 *
 * Pure.
 */
import { comparePositions, earlierOf, type Position, placeBefore } from '../sources/position.ts'
import type { Oldest } from '../sources/reader.ts'

/** That rows wait, and what is known of where. */
interface Waiting {
  /** The first of them. */
  readonly first: Position | undefined
  /** The table's first row when that became known; undefined where that is not known either. */
  readonly oldest: () => Oldest
}

export class Deletions {
  /** Rows that are being read, or were read and could not be settled; undefined when none are known. */
  #here: Waiting | undefined
  /** Rows beyond those. */
  #beyond: Waiting | undefined
  /** Up to where is being read, or was read last. */
  #upTo: Position | undefined

  /** `oldest` tells the first row when the stream was last known to be at work. */
  constructor(oldest: () => Oldest) {
    this.#here = { first: undefined, oldest }
  }

  /** Rows wait; `first` is where they begin, if that is known. */
  woken(oldest: Oldest, first?: Position): void {
    if (first !== undefined && this.#upTo !== undefined && comparePositions(first, this.#upTo) <= 0) return
    // A row whose place is known says more than one that is somewhere, and the earliest one the most.
    if (this.#beyond === undefined || this.#beyond.first === undefined) {
      this.#beyond = { first, oldest: this.#beyond?.oldest ?? (() => oldest) }
    }
  }

  /** Everything up to here is read from now on. */
  reads(upTo: Position): void {
    this.#here ??= this.#beyond
    this.#beyond = undefined
    this.#upTo = upTo
  }

  /** A page of it was read, and more may follow. */
  tookPage(oldest: Oldest): void {
    this.#here = { first: undefined, oldest: () => oldest }
  }

  /** All of it was read, or given up. */
  tookAll(): void {
    this.#here = undefined
  }

  /** What was read could not be settled; `first` is where it begins. */
  left(first: Position | undefined): void {
    if (first !== undefined) this.#here = { first, oldest: () => undefined }
  }

  /** Nothing that was known of the rows is true any more. */
  forget(oldest: Oldest): void {
    this.#here = { first: undefined, oldest: () => oldest }
    this.#beyond = undefined
    this.#upTo = undefined
  }

  /**
   * Up to where rows after `from` may have been deleted, given the table's first row now; undefined when there
   * is no sign of it. `upTo`: how far was read.
   */
  find(from: Position, now: Oldest, upTo: Position): Position | undefined {
    if (now === undefined || this.#here === undefined) return undefined
    // Beyond what was read rows may still appear.
    const gone = now === null ? upTo : earlierOf(placeBefore(now), upTo)
    if (comparePositions(gone, from) <= 0) return undefined
    const { first } = this.#here
    if (first !== undefined) {
      // Rows before `from` were settled, or are in memory.
      if (comparePositions(first, from) <= 0) return undefined
      return now === null || comparePositions(now, first) > 0 ? gone : undefined
    }
    const before = this.#here.oldest()
    // A table that was empty, or began there already, has lost nothing.
    if (before === null) return undefined
    if (before === undefined) return now === null ? undefined : gone
    return now === null || comparePositions(now, before) > 0 ? gone : undefined
  }
}
