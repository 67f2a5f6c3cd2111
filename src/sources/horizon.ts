/**
 * The horizon of an `id`-ordered source (I2): the highest position below which no row can still appear.
 *
 * A **fence** is taken in one statement: H, the highest visible id, and W, the transactions that hold
 * RowExclusiveLock on the id's sequence. `nextval` takes that lock before it draws and keeps it to the end
 * of the top-level transaction, so whoever drew an id ≤ H and has not ended is in W. (The statement's
 * snapshot, which decides H, is older than its reading of pg_locks.) When every member of W has ended, H
 * is safe: rows ≤ H are read by later statements, which see what W committed.
 *
 * Several fences may be pending, so that a busy table's horizon keeps moving while none of its moments is
 * free of writers. A transaction that is prepared may go on under another name (before PostgreSQL 17 its
 * virtual id changes): when a member of W is gone, prepared transactions that were not there before take
 * its place, at worst holding a fence a little longer than needed.
 *
 * Pure: time and the database are the watcher's.
 */
import { comparePositions, type Position } from './position.ts'

export interface Holder {
  /** Virtual transaction id, unique within one run of the server. */
  readonly transaction: string
  readonly prepared: boolean
}

export interface Observation {
  readonly highest: Position
  readonly holders: readonly Holder[]
}

interface Fence {
  readonly highest: Position
  waitingFor: Set<string>
}

/** Fences beyond this replace the newest one: more would not move the horizon sooner. */
const maxFences = 64

export class Horizon {
  #position: Position | undefined
  #fences: Fence[] = []
  #prepared = new Set<string>()

  /** `start`: a position known to be safe from earlier, e.g. stored by a former run. */
  constructor(start?: Position) {
    this.#position = start
  }

  /** Undefined until the first fence has opened. */
  get position(): Position | undefined {
    return this.#position
  }

  get pending(): boolean {
    return this.#fences.length > 0
  }

  /**
   * Takes in what one statement saw. `takeFence` asks for a new fence at its highest id; without it only
   * the pending ones are looked after. Returns whether the horizon moved.
   */
  observe({ highest, holders }: Observation, takeFence: boolean): boolean {
    const running = new Set(holders.map(({ transaction }) => transaction))
    const prepared = new Set(
      holders.filter((holder) => holder.prepared).map(({ transaction }) => transaction),
    )
    const newlyPrepared = [...prepared].filter((transaction) => !this.#prepared.has(transaction))
    this.#prepared = prepared
    for (const fence of this.#fences) {
      const still = [...fence.waitingFor].filter((transaction) => running.has(transaction))
      const someEnded = still.length < fence.waitingFor.size
      fence.waitingFor = new Set(someEnded ? [...still, ...newlyPrepared] : still)
    }
    if (takeFence && this.#isAboveAll(highest)) {
      if (this.#fences.length >= maxFences) this.#fences.pop()
      this.#fences.push({ highest, waitingFor: running })
    }
    return this.#openFences()
  }

  /** The connection was lost: transactions may have ended or been renamed unseen. */
  reset(): void {
    this.#fences = []
    this.#prepared = new Set()
  }

  #isAboveAll(highest: Position): boolean {
    const newest = this.#fences.at(-1)?.highest ?? this.#position
    return newest === undefined || comparePositions(highest, newest) > 0
  }

  #openFences(): boolean {
    const open = this.#fences.findLastIndex(({ waitingFor }) => waitingFor.size === 0)
    const fence = this.#fences[open]
    if (!fence) return false
    this.#position = fence.highest
    this.#fences = this.#fences.slice(open + 1)
    return true
  }
}
