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
 * free of writers.
 *
 * A transaction may go on under another name: older servers rename it when it is prepared, and a prepared
 * one comes back from a restart as `-1/<xid>`. So prepared transactions that were not there before take the
 * place of a running member that is gone, and restored ones join every fence. They never take the place of
 * a prepared member: else a stream of two-phase commits would keep a fence shut for ever.
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
  /** Transaction → whether it was prepared when last seen. */
  waitingFor: Holders
}

type Holders = ReadonlyMap<string, boolean>

/** Fences beyond this replace the newest one: more would not move the horizon sooner. */
const maxFences = 64

export class Horizon {
  #position: Position | undefined
  #fences: Fence[] = []
  #seen: Holders = new Map()

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

  /** Whom the oldest fence waits for: virtual transactions. */
  get waitingFor(): readonly string[] {
    return [...(this.#fences[0]?.waitingFor.keys() ?? [])]
  }

  /**
   * Takes in what one statement saw. `takeFence` asks for a new fence at its highest id; without it only
   * the pending ones are looked after. Returns whether the horizon moved.
   */
  observe({ highest, holders }: Observation, takeFence: boolean): boolean {
    const running = new Map(holders.map(({ transaction, prepared }) => [transaction, prepared]))
    const newlyPrepared = holders
      .filter(({ transaction, prepared }) => prepared && this.#seen.get(transaction) !== true)
      .map(({ transaction }) => transaction)
    this.#seen = running
    for (const fence of this.#fences) {
      fence.waitingFor = stillWaitingFor(fence.waitingFor, running, newlyPrepared)
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
    this.#seen = new Map()
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

function stillWaitingFor(members: Holders, running: Holders, newlyPrepared: readonly string[]): Holders {
  const still = new Map<string, boolean>()
  let maybeRenamed = false
  for (const [transaction, wasPrepared] of members) {
    const isPrepared = running.get(transaction)
    // A prepared transaction is never running again: after a restart this is another one by the same name.
    if (isPrepared !== undefined && (isPrepared || !wasPrepared)) still.set(transaction, isPrepared)
    else if (!wasPrepared) maybeRenamed = true
  }
  for (const transaction of newlyPrepared) {
    if (maybeRenamed || isRestored(transaction)) still.set(transaction, true)
  }
  return still
}

function isRestored(transaction: string): boolean {
  return transaction.startsWith('-1/')
}
