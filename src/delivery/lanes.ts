/**
 * Who may work at once (I6, I9). A turn of a destination takes a **seat** in a lane: `healthy` or, when it
 * is failing, `failing`, so that hung endpoints never occupy what healthy ones need. Each lane has a number
 * of seats and a budget for the bytes that its turns have read and not yet sent. A request that takes long
 * moves **aside**, with its bytes, and so gives its seat back while it waits.
 *
 * A turn waits for bytes only while it holds none; for reading ahead it takes what is free or does without.
 * So nobody waits for bytes while holding some, and the turns cannot lock each other out.
 */
export interface LaneSize {
  readonly seats: number
  readonly bytes: number
}

export type LaneName = 'healthy' | 'failing'

export interface LaneSizes extends Readonly<Record<LaneName, LaneSize>> {
  /** For slow requests. When it is full, they keep the seats they have. */
  readonly aside: LaneSize
}

/** What of a bound is taken. */
interface Use {
  readonly size: number
  readonly used: number
}

export interface LaneUsage {
  readonly name: LaneName | 'aside'
  readonly seats: Use
  readonly bytes: Use
}

export class Lanes {
  readonly #healthy: Lane
  readonly #failing: Lane
  readonly #aside: Lane

  constructor(sizes: LaneSizes) {
    this.#healthy = new Lane(sizes.healthy)
    this.#failing = new Lane(sizes.failing)
    this.#aside = new Lane(sizes.aside)
  }

  /** Somebody in good health waits for a seat or for bytes. */
  get contended(): boolean {
    return this.#healthy.seats.contended || this.#healthy.bytes.contended
  }

  usage(): LaneUsage[] {
    const lanes = { healthy: this.#healthy, failing: this.#failing, aside: this.#aside }
    const useOf = ({ size, used }: Semaphore): Use => ({ size, used })
    return Object.entries(lanes).map(([name, { seats, bytes }]) => ({
      name: name as LaneUsage['name'], // Object.entries forgets the keys' type
      seats: useOf(seats),
      bytes: useOf(bytes),
    }))
  }

  /** Waits its turn, first come first served. Rejects with the signal's reason. */
  async enter(name: LaneName, signal: AbortSignal): Promise<Seat> {
    const lane = name === 'healthy' ? this.#healthy : this.#failing
    await lane.seats.acquire(1, signal)
    return new Seat(lane, this.#aside, name === 'failing')
  }
}

export class Seat {
  #lane: Lane
  readonly #aside: Lane
  /** A failing destination reads for one attempt and not ahead: most likely it fails again. */
  readonly modest: boolean
  #held = 0

  constructor(lane: Lane, aside: Lane, modest: boolean) {
    this.#lane = lane
    this.#aside = aside
    this.modest = modest
  }

  /** Somebody waits for what this turn has. */
  get contended(): boolean {
    return this.#lane.seats.contended || this.#lane.bytes.contended
  }

  /** Takes bytes from the lane's budget; waits for them when this turn holds none, else says whether there were any. */
  async reserve(bytes: number, signal: AbortSignal): Promise<boolean> {
    const budget = this.#lane.bytes
    const wanted = Math.min(bytes, budget.size)
    if (this.#held === 0) await budget.acquire(wanted, signal)
    else if (!budget.tryAcquire(wanted)) return false
    if (budget !== this.#lane.bytes) {
      // It moved aside while it waited.
      budget.release(wanted)
      this.#lane.bytes.adjust(wanted)
    }
    this.#held += wanted
    return true
  }

  /** Corrects what this turn holds to what it really has. It may go beyond the budget: the bytes are there. */
  hold(bytes: number): void {
    this.#lane.bytes.adjust(bytes - this.#held)
    this.#held = bytes
  }

  /** Gives the place in the lane back while a slow request is waited for. */
  stepAside(): void {
    const aside = this.#aside
    if (this.#lane === aside || !aside.seats.tryAcquire(1)) return
    if (!aside.bytes.tryAcquire(this.#held)) {
      aside.seats.release(1)
      return
    }
    this.#lane.bytes.release(this.#held)
    this.#lane.seats.release(1)
    this.#lane = aside
  }

  leave(): void {
    this.hold(0)
    this.#lane.seats.release(1)
  }
}

class Lane {
  readonly seats: Semaphore
  readonly bytes: Semaphore

  constructor(size: LaneSize) {
    this.seats = new Semaphore(size.seats)
    this.bytes = new Semaphore(size.bytes)
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

  get used(): number {
    return this.size - this.#free
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
