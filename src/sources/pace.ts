/**
 * When a watcher looks at its source, and whether the look takes a fence. Pure: instants are milliseconds of a
 * clock that only grows.
 *
 * - A fence every poll interval, so that batches do not shrink.
 * - While rows wait behind one: soon, then less often, since a writer that stays may stay for hours.
 * - On a hint, at once and with a fence. Hints that come while a look is under way cause one more after it,
 *   and between two looks there is a pause that a flood of hints cannot shorten.
 */

const firstFenceCheckMs = 5
const slowestFenceCheckMs = 250
/** After a look, before a hint is heard: a few milliseconds, and at most a quarter of the time is spent looking. */
const hintPauseMs = 5
const hintPauseLooks = 3

export class Pace {
  readonly #pollIntervalMs: number
  #nextFenceAt: number
  #checkMs = firstFenceCheckMs
  #hinted = false
  #beganAt: number
  #endedAt: number

  constructor(pollIntervalMs: number, now: number) {
    this.#pollIntervalMs = pollIntervalMs
    this.#nextFenceAt = now
    this.#beganAt = now
    this.#endedAt = now
  }

  /** There may be new rows. */
  hint(): void {
    this.#hinted = true
  }

  /** How long to wait for the next look; `pending` while rows wait behind a fence. */
  waitMs(now: number, pending: boolean): number {
    const checkAt = pending ? this.#endedAt + this.#checkMs : Number.POSITIVE_INFINITY
    return Math.max(Math.min(this.#nextFenceAt, checkAt, this.#hintAt) - now, 0)
  }

  /** A look begins; returns whether it takes a fence. */
  begin(now: number): boolean {
    const takeFence = now >= Math.min(this.#nextFenceAt, this.#hintAt)
    if (takeFence) this.#hinted = false
    this.#beganAt = now
    return takeFence
  }

  end(now: number, tookFence: boolean, moved: boolean): void {
    this.#endedAt = now
    this.#checkMs = moved || tookFence ? firstFenceCheckMs : Math.min(this.#checkMs * 2, slowestFenceCheckMs)
    if (tookFence) this.#nextFenceAt = now + this.#pollIntervalMs
  }

  get #hintAt(): number {
    if (!this.#hinted) return Number.POSITIVE_INFINITY
    return this.#endedAt + Math.max(hintPauseMs, hintPauseLooks * (this.#endedAt - this.#beganAt))
  }
}
