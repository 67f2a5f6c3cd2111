/**
 * This replica's leases: takes its fair share of the shards, renews them, gives up what is too much or what it cannot
 * hold, and lets everything that works under a lease know (I3).
 *
 * Each tick looks at what all replicas see, and takes or gives a few shards; a third of the lease time after the last one, leases
 * are renewed. Nothing is done for a shard again before all work under its former lease has come to its end.
 *
 * A database that does not answer costs nothing until the trust in the leases ends (held-lease.ts). Then all of them are
 * lost: what is under way is broken off, before another replica can take them. They are taken anew when it
 * answers again. What happens to the process makes no difference: one that was paused finds its leases ended.
 */
import { type Clock, sleep } from '../clock.ts'
import { type Availability, isTransient } from '../db/availability.ts'
import type { LeaseName } from '../delivery/lease.ts'
import type { Log } from '../telemetry/log.ts'
import { describeShards, HeldLease } from './held-lease.ts'
import type { Board, LeaseStore } from './lease-store.ts'
import { fairShare } from './share.ts'

export interface LeasesDeps {
  readonly store: LeaseStore
  /** Of this replica, anew for each start. */
  readonly id: string
  readonly leaseMs: number
  /** What is on its way has so long to arrive when a shard is given to another replica. */
  readonly graceMs: number
  readonly clock: Pick<Clock, 'monotonic'>
  readonly log: Log
  readonly availability: Availability
  /** The destinations of these shards are this replica's from now on. */
  onTaken(shards: ReadonlySet<number>): Promise<void>
  /** Ends all work under a lease: what is on its way has `graceMs` to arrive. */
  onLeave(shard: number, graceMs: number): Promise<void>
}

/** A newcomer gets its share, and the shards of one that leaves are taken, about so soon. */
const longestTickMs = 500
/** While others give up what is its share: for so long, at most, nobody delivers what has been given up. */
const owedTickMs = 100
/** Clocks that differ in their pace, and the time that it takes to break off what is under way. */
const trustMargin = 0.1
const shortestMarginMs = 300

export class Leases {
  readonly #deps: LeasesDeps
  /** By shard, until all work under it has ended. */
  readonly #held = new Map<number, HeldLease>()
  readonly #failed = Promise.withResolvers<never>()
  #taking: Promise<void> = Promise.resolve()
  /** What is acquired when it leaves has to be given back too. */
  #acquiring: Promise<unknown> = Promise.resolve()
  #board: Board = { holdings: [], free: 0 }
  #renewalBegan = Number.NEGATIVE_INFINITY
  #expiryTimer: NodeJS.Timeout | undefined
  #isLeaving = false
  #workedAt: number
  /** It has less than its share. */
  #isOwed = false
  /** Since when there are shards for it that it has not got. */
  #wantingSince: number | undefined

  constructor(deps: LeasesDeps) {
    this.#deps = deps
    this.#workedAt = deps.clock.monotonic()
    this.#failed.promise.catch(() => {})
  }

  /** Those whose destinations are delivered to from here. */
  get serving(): HeldLease[] {
    return [...this.#held.values()].filter(({ isServing }) => isServing)
  }

  of(shard: number): HeldLease | undefined {
    const lease = this.#held.get(shard)
    return lease?.isServing ? lease : undefined
  }

  /** What keeps it from its share at the moment. */
  get problems(): string[] {
    const { clock, leaseMs } = this.#deps
    const now = clock.monotonic()
    if (now - this.#workedAt > leaseMs) return ['leases: they cannot be renewed']
    const isWanting = this.#wantingSince !== undefined && now - this.#wantingSince > leaseMs
    return isWanting ? ['leases: shards that nobody holds cannot be taken'] : []
  }

  /** Resolves when the first shards are taken, if there are any to be had. Rejects when `signal` aborts meanwhile. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#deps.availability.retry(() => this.#tick(), signal)
    // To load what is stored of thousands of destinations may take longer than a lease.
    const taken = new AbortController()
    const keeping = this.#keep(AbortSignal.any([signal, taken.signal]))
    try {
      await Promise.race([this.#taking, keeping])
    } finally {
      taken.abort()
      await keeping
    }
    signal.throwIfAborted()
  }

  /** Rejects for a reason that waiting does not mend. */
  async run(signal: AbortSignal): Promise<void> {
    const keeping = this.#keep(signal).finally(() => clearTimeout(this.#expiryTimer))
    await Promise.race([keeping, this.#failed.promise])
  }

  /** Gives everything up. Resolves when that has happened. */
  async leave(graceMs: number): Promise<void> {
    this.#isLeaving = true
    // Sent first, so that the others know that what becomes free is theirs.
    const left = this.#deps.store.leave().catch(() => {})
    await Promise.all([this.#give(this.serving, graceMs, 'leaving'), this.#acquiring])
    await left
  }

  async #keep(signal: AbortSignal): Promise<void> {
    const { availability, leaseMs } = this.#deps
    const tickMs = Math.min(longestTickMs, leaseMs / 6)
    while (!signal.aborted) {
      await sleep(this.#isOwed ? Math.min(tickMs, owedTickMs) : tickMs, signal)
      if (signal.aborted) break
      try {
        await this.#tick()
        availability.reportUp()
      } catch (error) {
        if (!isTransient(error)) throw error
        availability.reportDown(error)
      }
    }
  }

  async #tick(): Promise<void> {
    const { clock, leaseMs, store } = this.#deps
    if (clock.monotonic() - this.#renewalBegan >= leaseMs / 3) await this.#renew()
    if (!this.#isLeaving) {
      this.#board = await store.look()
      if (this.#isMissing(this.#board)) await this.#renew()
      if (!this.#isLeaving) await this.#balance(this.#board)
    }
    this.#workedAt = clock.monotonic()
  }

  /** Others see less of it than it has: leases have ended there, as they do when the database's clock is set forward. */
  #isMissing({ holdings }: Board): boolean {
    const seen = holdings.find(({ replica }) => replica === this.#deps.id)
    const trusted = [...this.#held.values()].filter(({ hasEnded }) => !hasEnded)
    return seen === undefined || seen.shards < trusted.length
  }

  async #renew(): Promise<void> {
    const { clock, store } = this.#deps
    const began = clock.monotonic()
    const own = await store.renew(!this.#isLeaving)
    this.#renewalBegan = began
    const epochs = new Map(own.map(({ shard, epoch }) => [shard, epoch]))
    const gone = [...this.#held.values()].filter(
      (lease) => !lease.hasEnded && epochs.get(lease.shard) !== lease.epoch,
    )
    this.#lose(gone, 'taken_over')
    const renewed = own.filter(({ isRenewed }) => isRenewed)
    for (const { shard } of renewed) this.#held.get(shard)?.renewed(began + this.#trustMs)
    this.#watchTrust()
    // Taken by a statement whose answer was lost.
    const unknown = renewed.filter(({ shard }) => !this.#held.has(shard))
    await this.#takeOrRelease(unknown, began)
  }

  async #balance({ holdings, free }: Board): Promise<void> {
    const { id, clock } = this.#deps
    if (!holdings.some(({ replica }) => replica === id)) return
    const share = fairShare(id, holdings)
    const wanted = Math.min(share - this.#held.size, free)
    this.#isOwed = share > this.#held.size
    if (wanted <= 0) {
      this.#wantingSince = undefined
      const excess = this.serving.slice(share)
      if (excess.length > 0) {
        this.#give(excess, this.#deps.graceMs, 'rebalancing').catch((error) => this.#failed.reject(error))
      }
      return
    }
    this.#wantingSince ??= clock.monotonic()
    const acquiring = this.#acquire(wanted)
    this.#acquiring = acquiring.catch(() => {})
    const isEnough = (await acquiring) === wanted
    if (isEnough) this.#wantingSince = undefined
    else await this.#deps.store.restoreShards()
  }

  async #acquire(wanted: number): Promise<number> {
    const { clock, store } = this.#deps
    const began = clock.monotonic()
    const acquired = await store.acquire(wanted, [...this.#held.keys()])
    await this.#takeOrRelease(acquired, began)
    return acquired.length
  }

  /** What comes when it leaves already must not lie idle until it runs out. */
  async #takeOrRelease(leases: readonly LeaseName[], began: number): Promise<void> {
    if (this.#isLeaving) await Promise.allSettled(leases.map((lease) => this.#deps.store.release(lease)))
    else this.#take(leases, began)
  }

  /** `began`: when the statement that acquired or renewed them was sent. */
  #take(leases: readonly LeaseName[], began: number): void {
    if (leases.length === 0) return
    const { clock, log, onTaken } = this.#deps
    const until = began + this.#trustMs
    for (const lease of leases) {
      this.#held.set(lease.shard, new HeldLease(lease, until, () => clock.monotonic()))
    }
    this.#watchTrust()
    const shards = leases.map(({ shard }) => shard)
    log.emit('lease.acquired', { ...this.#described(shards), replicas: this.#board.holdings.length })
    // It may wait for the database: the next renewal must not wait for it.
    this.#taking = onTaken(new Set(shards))
    this.#taking.catch((error) => this.#failed.reject(error))
  }

  /** Resolves when they are given back, or have ended by themselves. */
  async #give(
    leases: readonly HeldLease[],
    graceMs: number,
    reason: 'rebalancing' | 'leaving',
  ): Promise<void> {
    for (const lease of leases) lease.leave()
    const { log, onLeave, store } = this.#deps
    const given = await Promise.all(
      leases.map(async (lease) => {
        await onLeave(lease.shard, graceMs)
        if (lease.hasEnded) return []
        // Whatever comes of it: nothing is done under it any more, and at the latest it runs out.
        const isReleased = await store.release(lease).then(
          () => true,
          () => false,
        )
        lease.end()
        this.#held.delete(lease.shard)
        return isReleased ? [lease.shard] : []
      }),
    )
    const shards = given.flat()
    if (shards.length > 0) log.emit('lease.released', { ...this.#described(shards), reason })
  }

  #lose(leases: readonly HeldLease[], reason: 'expired' | 'taken_over'): void {
    if (leases.length === 0) return
    const { log, onLeave, store } = this.#deps
    for (const lease of leases) {
      lease.end()
      onLeave(lease.shard, 0)
        // The trust ends before the lease does: others need not wait for the rest of it.
        .then(() => store.release(lease))
        .catch(() => {})
        .finally(() => this.#held.delete(lease.shard))
    }
    log.emit('lease.lost', { ...this.#described(leases.map(({ shard }) => shard)), reason })
  }

  /** Sets the timer anew to when the trust in a lease ends next. */
  #watchTrust(): void {
    clearTimeout(this.#expiryTimer)
    const untrusted = [...this.#held.values()].filter(({ hasEnded }) => !hasEnded)
    if (untrusted.length === 0) return
    const next = Math.min(...untrusted.map(({ trustedUntil }) => trustedUntil))
    this.#expiryTimer = setTimeout(
      () => {
        this.#lose(
          untrusted.filter(({ isHeld, hasEnded }) => !isHeld && !hasEnded),
          'expired',
        )
        this.#watchTrust()
      },
      Math.max(0, Math.ceil(next - this.#deps.clock.monotonic())),
    ).unref()
  }

  #described(shards: readonly number[]) {
    return { shards: describeShards(shards), count: shards.length, held: this.serving.length }
  }

  get #trustMs(): number {
    const { leaseMs } = this.#deps
    return leaseMs - Math.max(leaseMs * trustMargin, shortestMarginMs)
  }
}
