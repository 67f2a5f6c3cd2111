/**
 * Work of many that one statement does for all of them: what comes while a statement is under way waits for it and
 * goes together with the next one. Where a thousand destinations have a row each, a few statements take the place of
 * thousands, and one wait for the disk that of hundreds. After one that went alone the next one sets off at once: it is
 * a single destination that catches up, and waiting for company would cost it a turn of the event loop with every batch.
 *
 * Nobody waits long for others (I6): when a statement takes its time, the next one goes beside it.
 */
interface Waiting<Item> {
  readonly item: Item
  readonly done: (isDone: boolean) => void
  readonly onDispatched: (() => void) | undefined
}

/** A statement that has been begun. */
export interface Written {
  /** The indexes of the items that are done. */
  readonly done: Promise<ReadonlySet<number>>
  /** See `dispatched`. */
  readonly dispatched: Promise<void>
}

export interface GroupCommitOptions<Item> {
  /** It must not wait for locks. */
  write(items: readonly Item[]): Written
  /** Items of one statement at most. */
  readonly largest: number
}

/** A statement that is slower than this is not waited for. */
const patienceMs = 20
/** Statements under way at once, at most. */
const mostUnderWay = 4

export class GroupCommit<Item> {
  readonly #options: GroupCommitOptions<Item>
  #waiting: Waiting<Item>[] = []
  #underWay = 0
  #isScheduled = false
  /** The last statement had one item. */
  #wentAlone = false
  /** When the last one was sent; monotonic milliseconds. */
  #launchedAt = Number.NEGATIVE_INFINITY

  constructor(options: GroupCommitOptions<Item>) {
    this.#options = options
  }

  /**
   * False where it could not be done with others: locked, refused, or the statement failed. Then nothing is known of it.
   * `onDispatched`: the statement is on its way.
   */
  write(item: Item, onDispatched?: () => void): Promise<boolean> {
    return new Promise((resolve) => {
      this.#waiting.push({ item, done: resolve, onDispatched })
      const isSlow = performance.now() - this.#launchedAt >= patienceMs
      if (this.#underWay === 0 && this.#wentAlone) void this.#launch()
      else if (this.#underWay === 0 || isSlow) this.#schedule()
    })
  }

  /** When everybody who is awake at this moment has had the chance to come along. */
  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#isScheduled = false
      void this.#launch()
    })
  }

  async #launch(): Promise<void> {
    if (this.#waiting.length === 0 || this.#underWay >= mostUnderWay) return
    const group = this.#waiting.splice(0, this.#options.largest)
    this.#wentAlone = group.length === 1
    this.#underWay += 1
    this.#launchedAt = performance.now()
    const overtake = setTimeout(() => this.#schedule(), patienceMs)
    try {
      const written = this.#options.write(group.map(({ item }) => item))
      const tell = () => {
        for (const { onDispatched } of group) onDispatched?.()
      }
      // Whether it fails is said by the other one.
      written.dispatched.then(tell, () => {})
      const done = await written.done
      for (const [index, waiting] of group.entries()) waiting.done(done.has(index))
    } catch {
      // Each finds out for itself what is the matter.
      for (const waiting of group) waiting.done(false)
    } finally {
      clearTimeout(overtake)
      this.#underWay -= 1
      if (this.#waiting.length > 0) this.#schedule()
    }
  }
}
