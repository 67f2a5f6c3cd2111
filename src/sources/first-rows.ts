/**
 * The table's first row as it was some time ago: what another replica had seen of it when it was last at work, so
 * that whoever takes over notices rows that were deleted in between (I5).
 */
import type { Oldest } from './reader.ts'

interface Sample {
  readonly at: number
  readonly oldest: Oldest
}

/** Retention that never rests makes no more samples than this allows: meanwhile an older one stands. */
const betweenSamplesMs = 1_000

export class FirstRows {
  readonly #agoMs: number
  /** Each stands until the next one. */
  #samples: Sample[] = []

  constructor(agoMs: number) {
    this.#agoMs = agoMs
  }

  /** What a former run saw last. */
  recalled(oldest: Oldest): void {
    this.#samples = [{ at: Number.NEGATIVE_INFINITY, oldest }]
  }

  /** `at`: monotonic milliseconds. */
  seen(oldest: Oldest, at: number): void {
    const last = this.#samples.at(-1)
    if (last === undefined || last.oldest === undefined) {
      this.recalled(oldest)
    } else if (last.oldest !== oldest && at - last.at >= betweenSamplesMs) {
      this.#samples.push({ at, oldest })
    }
    while ((this.#samples[1]?.at ?? Number.POSITIVE_INFINITY) <= at - this.#agoMs) this.#samples.shift()
  }

  /** As it was `agoMs` before the last look, or longer before; undefined before the first look. */
  get former(): Oldest {
    return this.#samples[0]?.oldest
  }
}
