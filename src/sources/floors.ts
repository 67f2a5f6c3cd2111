/**
 * How far the sources had been read at the last poll of the registry but one: a destination that the last poll
 * brought was not there then, so whatever lay at or below is older than it. Needed where the database itself
 * cannot start a cursor, because the audit tables are in another one.
 */
import type { Position } from './position.ts'

export interface Floor {
  readonly position: Position
  /** Epoch milliseconds of the database, for what a former run stored: it may have read a little further. */
  readonly savedAt?: number
  /** Of the source; in another one the position means nothing. */
  readonly life: number
}

type Horizons = ReadonlyMap<string, Floor>

export class Floors {
  #last: Horizons
  #current: Horizons

  /** `stored`: what a former run left. */
  constructor(stored: Horizons) {
    this.#last = stored
    this.#current = stored
  }

  /** For the rows of the poll that is being made, or was made last. */
  get current(): Horizons {
    return this.#current
  }

  /** Before a poll's statement is sent. */
  mark(horizons: ReadonlyMap<string, Floor>): void {
    this.#current = this.#last
    // Of a source that cannot be read at the moment the older place is still true.
    this.#last = new Map([...this.#last, ...horizons])
  }
}
