/**
 * What a watcher keeps of a source between two looks: the horizon (I2), and enough to notice that the source
 * went back in time (rewind.ts). One for each ordering. Takes in observations; asks nothing itself.
 */
import type { HolderQuestion } from './holders.ts'
import { Horizon } from './horizon.ts'
import type { IdsLook, Observation, TransactionsLook } from './observer.ts'
import { comparePositions, origin, type Position } from './position.ts'
import { rewindBetween } from './rewind.ts'

/** `anew`: the horizon is of no use any more, and what was read must be compared with the cursors. */
export type Verdict = 'good' | 'anew' | { readonly lost: string }

export interface Tracker<Seen extends Observation = Observation> {
  /** The horizon; undefined until one is known. */
  readonly position: Position | undefined
  /** Rows wait that may not be read yet: looking again soon is worth it. */
  readonly pending: boolean
  /** Rows may wait, and only the table itself tells whether they do. */
  readonly mayWait: boolean
  /** What tells who holds the horizon back. */
  readonly heldBy: HolderQuestion
  /** Whether the source went back since the last look: `lost` may be passed over, with the figures. */
  judge(seen: Seen): Verdict
  /** Takes in a look; with `takeFence` it may become a new fence. Returns whether the horizon moved. */
  take(seen: Seen, takeFence: boolean): boolean
  /** The connection was lost, or the source was looked up anew. */
  reset(): void
}

export class IdTracker implements Tracker<IdsLook> {
  readonly mayWait = false
  readonly #horizon: Horizon
  #before: IdsLook | undefined

  /** `start`: a position known to be safe from earlier. */
  constructor(start?: Position) {
    this.#horizon = new Horizon(start)
  }

  get position(): Position | undefined {
    return this.#horizon.position
  }

  get pending(): boolean {
    return this.#horizon.pending
  }

  get heldBy(): HolderQuestion {
    return { kind: 'members', transactions: this.#horizon.waitingFor }
  }

  judge(seen: IdsLook): Verdict {
    const horizon = this.#horizon.position
    if (this.#before === undefined || horizon === undefined) return 'good'
    const lost = rewindBetween(this.#before, seen, horizon)
    return lost === undefined ? 'good' : { lost }
  }

  take(seen: IdsLook, takeFence: boolean): boolean {
    this.#before = seen
    return this.#horizon.observe({ highest: seen.highest ?? origin, holders: seen.holders }, takeFence)
  }

  reset(): void {
    this.#horizon.reset()
  }
}

/** Every transaction before the oldest open one has ended, and whatever it wrote is visible from now on. */
export class TransactionTracker implements Tracker<TransactionsLook> {
  #position: Position | undefined
  #waiting = false
  #mayWait = false

  get position(): Position | undefined {
    return this.#position
  }

  get pending(): boolean {
    return this.#waiting
  }

  get mayWait(): boolean {
    return this.#mayWait
  }

  get heldBy(): HolderQuestion {
    return { kind: 'oldest', xact: this.#position ?? origin }
  }

  /** A crash takes back transactions of which nothing had reached the disk; others get their numbers. */
  judge({ nextXact }: TransactionsLook): Verdict {
    return this.#position !== undefined && comparePositions(nextXact, this.#position) < 0 ? 'anew' : 'good'
  }

  take({ oldestOpen, nextXact, waiting }: TransactionsLook): boolean {
    this.#waiting = waiting === true
    // Where no transaction has ended since the oldest open one began, none can have left rows.
    this.#mayWait = waiting === undefined && comparePositions(nextXact, oldestOpen) > 0
    if (this.#position !== undefined && comparePositions(oldestOpen, this.#position) <= 0) return false
    this.#position = oldestOpen
    return true
  }

  reset(): void {
    this.#waiting = false
    this.#mayWait = false
  }
}
