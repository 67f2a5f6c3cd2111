/** Time as an argument: what waits or stamps is given a clock, so that tests hold the hands. */
export interface Clock {
  /** Epoch milliseconds. */
  now(): number
  /** Milliseconds that only grow, for durations. */
  monotonic(): number
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
}

/** Resolves after `ms`, or at once when `signal` aborts; it never rejects, so a loop just looks at its signal. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done, { once: true })
  })
}

/** A bell for a loop that waits: `ring` ends the wait, also when it comes just before it. */
export class Bell {
  #rung = false
  #waiting: (() => void) | undefined

  ring(): void {
    this.#rung = true
    this.#waiting?.()
  }

  /** Until the bell rings, at most `ms` where given. */
  async wait(ms?: number): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const timer = ms === undefined ? undefined : setTimeout(resolve, Math.min(ms, longestTimerMs))
        this.#waiting = () => {
          clearTimeout(timer)
          resolve()
        }
      })
      this.#waiting = undefined
    }
    this.#rung = false
  }
}

/** setTimeout takes 31 bits; a longer wait is simply begun again. */
const longestTimerMs = 2_147_483_647
