/**
 * How many events the next batch of a stream has: fewer after a time-out or a 413, more again while they are accepted
 * (additive increase, multiplicative decrease), so that a slow endpoint is drained instead of given up. Pure.
 *
 * A batch that may have been sent keeps its bounds (I4), so the first time-out makes only later batches smaller. The one
 * that timed out is tried once more as it is; most often the endpoint was just slow for once, and knows it by its
 * id. If it times out again it will never do: it is cut smaller, and its parts go under ids of their own.
 */
import type { Outcome } from '../../providers/provider.ts'
import type { Position } from '../sources/position.ts'
import type { Batch } from './batch.ts'

/** One part of the configured size is added for each full batch that is accepted. */
const steps = 16

/** A batch that takes a larger share of the time that is known to be too long does not grow. */
const longestShare = 0.5

export class BatchSize {
  readonly #configured: number
  #limit: number
  /** Frozen ends of batches that may have been sent, and how often they timed out; undefined without any. */
  #attempted: Map<Position, number> | undefined
  #tooLongMs = Number.POSITIVE_INFINITY

  /** `frozen`: ends that were stored by a former run. */
  constructor(configured: number, frozen: readonly Position[]) {
    this.#configured = configured
    this.#limit = configured
    if (frozen.length > 0) this.#attempted = new Map(frozen.map((end) => [end, 0]))
  }

  /** For the batch that ends at most at `bound`, where that is frozen. */
  limit(bound: Position | undefined): number {
    const timeOuts = bound === undefined ? undefined : this.#attempted?.get(bound)
    return timeOuts === undefined || timeOuts > 1 ? this.#limit : this.#configured
  }

  attempted(end: Position): void {
    this.#attempted ??= new Map()
    if (!this.#attempted.has(end)) this.#attempted.set(end, 0)
  }

  /** The batch took longer than its time. */
  timedOut(end: Position, events: number, durationMs: number): void {
    this.#attempted ??= new Map()
    this.#attempted.set(end, (this.#attempted.get(end) ?? 0) + 1)
    this.#tooLongMs = durationMs
    this.tooLarge(events)
  }

  /** The batch was more than the endpoint takes at once. */
  tooLarge(events: number): void {
    this.#limit = Math.max(1, Math.min(this.#limit, events) >> 1)
  }

  accepted(events: number, durationMs: number): void {
    if (events < this.#limit || this.#limit >= this.#configured) return
    if (durationMs > this.#tooLongMs * longestShare) return
    // At most doubled, so that it takes no longer than what is too long, even if all the time goes with the events.
    const step = Math.min(this.#limit, Math.ceil(this.#configured / steps))
    this.#limit = Math.min(this.#configured, this.#limit + step)
  }

  /** The cursor has moved; only these ends lie beyond it. What was accepted ahead of others keeps its bounds (I4). */
  settled(frozen: readonly Position[]): void {
    if (!this.#attempted) return
    for (const end of this.#attempted.keys()) if (!frozen.includes(end)) this.#attempted.delete(end)
    if (this.#attempted.size === 0) this.#attempted = undefined
  }
}

/** Of log types, kept longer than their streams are. */
export class BatchSizes {
  readonly #sizes = new Map<string, BatchSize>()

  of(logType: string, configured: number, frozen: readonly Position[]): BatchSize {
    const size = this.#sizes.get(logType) ?? new BatchSize(configured, frozen)
    this.#sizes.set(logType, size)
    return size
  }
}

export function learnSize(
  size: BatchSize,
  { to, events }: Pick<Batch, 'to' | 'events'>,
  outcome: Outcome,
  durationMs: number,
): void {
  if (outcome.kind === 'accepted') size.accepted(events.length, durationMs)
  else if (outcome.kind === 'retry' && outcome.reason.code === 'timeout') {
    size.timedOut(to, events.length, durationMs)
  } else if (outcome.kind === 'rejected' && outcome.reason.status === 413) size.tooLarge(events.length)
}
