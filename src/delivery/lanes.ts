/**
 * Who may work at once (I6, I9). A turn of a destination takes a **seat** in a lane: `healthy` or, when it
 * is failing, `failing`, so that hung endpoints never occupy what healthy ones need. A request that takes
 * long steps **aside** and gives its seat back while it waits. What a turn has read and not yet sent counts
 * against one budget of bytes for all.
 *
 * A turn asks for bytes only while it holds none; for reading ahead it takes what is free or does without.
 * So nobody waits for bytes while holding some, and the turns cannot lock each other out.
 */
export interface LaneSizes {
  readonly healthy: number
  readonly failing: number
  /** Slow requests beyond the seats. When it is full, they keep their seats. */
  readonly aside: number
  readonly bytes: number
}

export type LaneName = 'healthy' | 'failing'

export class Lanes {
  readonly #healthy: Semaphore
  readonly #failing: Semaphore
  readonly #aside: Semaphore
  readonly #bytes: Semaphore

  constructor(sizes: LaneSizes) {
    this.#healthy = new Semaphore(sizes.healthy)
    this.#failing = new Semaphore(sizes.failing)
    this.#aside = new Semaphore(sizes.aside)
    this.#bytes = new Semaphore(sizes.bytes)
  }

  /** Waits its turn, first come first served. Rejects with the signal's reason. */
  async enter(name: LaneName, signal: AbortSignal): Promise<Seat> {
    const lane = name === 'healthy' ? this.#healthy : this.#failing
    await lane.acquire(1, signal)
    return new Seat(lane, this.#aside, this.#bytes)
  }
}

export class Seat {
  #lane: Semaphore
  readonly #aside: Semaphore
  readonly #bytes: Semaphore
  #held = 0

  constructor(lane: Semaphore, aside: Semaphore, bytes: Semaphore) {
    this.#lane = lane
    this.#aside = aside
    this.#bytes = bytes
  }

  /** Somebody waits for what this turn has. */
  get contended(): boolean {
    return this.#lane.contended || this.#bytes.contended
  }

  /** Takes bytes from the budget; waits for them when this turn holds none, else says whether there were any. */
  async reserve(bytes: number, signal: AbortSignal): Promise<boolean> {
    const wanted = Math.min(bytes, this.#bytes.size)
    if (this.#held === 0) await this.#bytes.acquire(wanted, signal)
    else if (!this.#bytes.tryAcquire(wanted)) return false
    this.#held += wanted
    return true
  }

  /** Corrects what this turn holds to what it really has. It may go beyond the budget: the bytes are there. */
  hold(bytes: number): void {
    this.#bytes.adjust(bytes - this.#held)
    this.#held = bytes
  }

  /** Gives the place in the lane back while a slow request is waited for. */
  stepAside(): void {
    if (this.#lane === this.#aside || !this.#aside.tryAcquire(1)) return
    this.#lane.release(1)
    this.#lane = this.#aside
  }

  leave(): void {
    this.hold(0)
    this.#lane.release(1)
  }
}

interface Waiter {
  readonly amount: number
  readonly admit: () => void
}

/** Counts down and lets waiters in by their order. */
class Semaphore {
  readonly size: number
  #free: number
  readonly #waiters: Waiter[] = []

  constructor(size: number) {
    this.size = size
    this.#free = size
  }

  get contended(): boolean {
    return this.#waiters.length > 0
  }

  tryAcquire(amount: number): boolean {
    if (this.#waiters.length > 0 || amount > this.#free) return false
    this.#free -= amount
    return true
  }

  async acquire(amount: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.tryAcquire(amount)) return
    await new Promise<void>((resolve, reject) => {
      const waiter: Waiter = {
        amount,
        admit: () => {
          signal.removeEventListener('abort', onAbort)
          resolve()
        },
      }
      const onAbort = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        reject(signal.reason)
        this.#admit()
      }
      signal.addEventListener('abort', onAbort, { once: true })
      this.#waiters.push(waiter)
    })
  }

  release(amount: number): void {
    this.#free += amount
    this.#admit()
  }

  /** Takes `amount` more, or gives it back when negative, without waiting. */
  adjust(amount: number): void {
    this.release(-amount)
  }

  #admit(): void {
    for (let next = this.#waiters[0]; next && next.amount <= this.#free; next = this.#waiters[0]) {
      this.#waiters.shift()
      this.#free -= next.amount
      next.admit()
    }
  }
}
