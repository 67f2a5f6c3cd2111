/**
 * Keeps a destination's `maxEventsPerSecond` and `maxRequestsPerMinute`, smoothly: what was sent is paid for in
 * time before the next request goes out, and unused time is not saved up. One for all log types and replays of a destination.
 */
import { type Clock, sleep } from '../clock.ts'

export interface RateLimits {
  /** Undefined: no limit. */
  readonly maxEventsPerSecond: number | undefined
  readonly maxRequestsPerMinute: number | undefined
}

export class RateLimit {
  readonly #limits: RateLimits
  readonly #clock: Pick<Clock, 'monotonic'>
  #freeAt = 0

  constructor(limits: RateLimits, clock: Pick<Clock, 'monotonic'>) {
    this.#limits = limits
    this.#clock = clock
  }

  /** Until the next request may go out; 0 when it may now. */
  get waitMs(): number {
    return Math.max(0, this.#freeAt - this.#clock.monotonic())
  }

  /** Takes the next turn for a request with so many events, first come first served; when it is, on the monotonic clock. */
  take(events: number): number {
    const { maxEventsPerSecond, maxRequestsPerMinute } = this.#limits
    const costMs = Math.max(
      maxEventsPerSecond === undefined ? 0 : (events * 1_000) / maxEventsPerSecond,
      maxRequestsPerMinute === undefined ? 0 : 60_000 / maxRequestsPerMinute,
    )
    const at = Math.max(this.#freeAt, this.#clock.monotonic())
    this.#freeAt = at + costMs
    return at
  }

  /** Takes a turn and waits for it. Rejects with the signal's reason. */
  async pass(events: number, signal: AbortSignal): Promise<void> {
    const at = this.take(events)
    for (let waitMs = at - this.#clock.monotonic(); waitMs > 0; waitMs = at - this.#clock.monotonic()) {
      await sleep(waitMs, signal)
      signal.throwIfAborted()
    }
  }
}

/** A batch is at most what may go out in a second, so that the events come evenly; where each event is a request, one. */
export function smoothBatchSize(batchSize: number, limits: RateLimits, onePerRequest: boolean): number {
  const { maxEventsPerSecond, maxRequestsPerMinute } = limits
  const isLimited = maxEventsPerSecond !== undefined || maxRequestsPerMinute !== undefined
  if (onePerRequest && isLimited) return 1
  return Math.max(1, Math.min(batchSize, Math.floor(maxEventsPerSecond ?? batchSize)))
}
