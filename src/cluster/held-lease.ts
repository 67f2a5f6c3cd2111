/**
 * A lease of a shard, as this process trusts in it.
 *
 * *serving* → *leaving* (given up: what is under way is settled, nothing new is begun) → *ended* (given back, or lost).
 *
 * The trust ends by the monotonic clock, some time before the lease does in the database, counted from when the
 * renewal was begun: no clock but the database's says when it ends there, and no pause of this process prolongs it.
 */
import type { LeaseName } from '../delivery/lease.ts'

export class HeldLease {
  readonly shard: number
  readonly owner: string
  readonly epoch: string
  readonly #monotonic: () => number
  #state: 'serving' | 'leaving' | 'ended' = 'serving'
  #trustedUntil: number

  constructor({ shard, owner, epoch }: LeaseName, trustedUntil: number, monotonic: () => number) {
    this.shard = shard
    this.owner = owner
    this.epoch = epoch
    this.#trustedUntil = trustedUntil
    this.#monotonic = monotonic
  }

  get isHeld(): boolean {
    return !this.hasEnded && this.#monotonic() < this.#trustedUntil
  }

  get isServing(): boolean {
    return this.#state === 'serving'
  }

  get hasEnded(): boolean {
    return this.#state === 'ended'
  }

  get trustedUntil(): number {
    return this.#trustedUntil
  }

  /** Once the trust has ended it does not come back. */
  renewed(trustedUntil: number): void {
    if (this.isHeld) this.#trustedUntil = trustedUntil
  }

  leave(): void {
    if (this.#state === 'serving') this.#state = 'leaving'
  }

  end(): void {
    this.#state = 'ended'
  }
}

/** For people: `0-20, 63`. */
export function describeShards(shards: readonly number[]): string {
  const runs: [first: number, last: number][] = []
  for (const shard of shards.toSorted((a, b) => a - b)) {
    const run = runs.at(-1)
    if (run && run[1] + 1 === shard) run[1] = shard
    else runs.push([shard, shard])
  }
  return runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(', ')
}
