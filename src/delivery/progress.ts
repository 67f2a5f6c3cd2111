/**
 * Whether the work that is the daemon's own to do gets done: reading pages, writing cursors. What endpoints take their
 * time for is none of it.
 *
 * Each piece is begun and ended. A kind of work is *stuck* when a piece of it has been open for a while and none that
 * was begun after it has succeeded: one that hangs while others pass is in somebody's way alone, say behind the lock on
 * one row (I6). So is a kind of which every piece fails.
 */
type Kind = 'registry' | 'page' | 'cursor'

/** A page may have to be looked for in a large table; of the others each is a matter of milliseconds. */
const kinds = {
  registry: { what: 'the destinations have not been read', stuckAfterMs: 15_000 },
  page: { what: 'no page of rows has been read', stuckAfterMs: 25_000 },
  cursor: { what: 'no cursor has been written', stuckAfterMs: 15_000 },
} as const satisfies Record<Kind, { what: string; stuckAfterMs: number }>

export class Progress {
  readonly #now: () => number
  readonly #kinds = new Map<Kind, Work>()

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Rejects as `work` does. What `isForeign` says of an error is no failure of the daemon's. */
  async track<T>(
    kind: Kind,
    work: () => Promise<T>,
    isForeign: (error: unknown) => boolean = () => false,
  ): Promise<T> {
    const of = this.#of(kind)
    const piece = of.begin(this.#now())
    try {
      const result = await work()
      of.succeeded(piece)
      return result
    } catch (error) {
      if (isForeign(error)) of.dropped(piece)
      else of.failed(piece, this.#now())
      throw error
    }
  }

  /** What is stuck, for operators. */
  get problems(): string[] {
    const now = this.#now()
    return [...this.#kinds].flatMap(([kind, work]) => {
      const { what, stuckAfterMs } = kinds[kind]
      const stuckMs = work.stuckMs(now, stuckAfterMs)
      return stuckMs === undefined ? [] : [`forwarders: ${what} for ${Math.floor(stuckMs / 1_000)} s`]
    })
  }

  #of(kind: Kind): Work {
    const known = this.#kinds.get(kind)
    if (known) return known
    const work = new Work()
    this.#kinds.set(kind, work)
    return work
  }
}

/** Pieces in the order in which they were begun. */
interface Piece {
  readonly order: number
  readonly beganAt: number
}

class Work {
  readonly #open = new Set<Piece>()
  /** The first failure since a success, and the last. */
  #failures: { readonly first: Piece; readonly lastAt: number } | undefined
  #begun = 0
  /** The latest begun of those that succeeded. */
  #proof = 0

  begin(now: number): Piece {
    this.#begun += 1
    const piece = { order: this.#begun, beganAt: now }
    this.#open.add(piece)
    return piece
  }

  succeeded(piece: Piece): void {
    this.#open.delete(piece)
    this.#proof = Math.max(this.#proof, piece.order)
    if (this.#failures && this.#failures.first.order < this.#proof) this.#failures = undefined
  }

  failed(piece: Piece, now: number): void {
    this.#open.delete(piece)
    if (piece.order < this.#proof) return
    this.#failures = { first: this.#failures?.first ?? piece, lastAt: now }
  }

  dropped(piece: Piece): void {
    this.#open.delete(piece)
  }

  /** For how long it has been stuck; undefined while it is not. */
  stuckMs(now: number, afterMs: number): number | undefined {
    const waiting = [...this.#open].filter(({ order }) => order > this.#proof)
    // What failed and is not tried again holds nothing up.
    const failures = this.#failures && now - this.#failures.lastAt < afterMs ? [this.#failures.first] : []
    const since = Math.min(...[...waiting, ...failures].map(({ beganAt }) => beganAt))
    return now - since >= afterMs ? now - since : undefined
  }
}
