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

/** setTimeout takes 31 bits. Who waits longer than these 24 days looks again and goes on waiting. */
const longestTimerMs = 2_147_483_647

/** Resolves after `ms`, or at once when `signal` aborts; it never rejects, so a loop just looks at its signal. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve()
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, Math.min(ms, longestTimerMs))
    signal?.addEventListener('abort', done, { once: true })
  })
}

/** Waits for `work` to end, well or badly, at most `ms`. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController()
  await Promise.race([work.catch(() => {}), sleep(ms, done.signal)])
  done.abort()
}

/** As `work` ends, or rejects with the signal's reason as soon as that aborts. `work` goes on. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted()
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(signal.reason)
  signal.addEventListener('abort', onAbort)
  try {
    return await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

/**
 * A bell for a loop that waits: `ring` ends the wait, also when it comes just before it. Thousands wait at a time, so a
 * wait is a promise and nothing more.
 */
export class Bell {
  #rung = false
  #resolve: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined

  ring(): void {
    this.#rung = true
    this.#end()
  }

  /** Until the bell rings, at most `ms` where given. */
  wait(ms?: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#resolve = resolve
    if (this.#rung) this.#end()
    else if (ms !== undefined) this.#timer = setTimeout(() => this.#end(), Math.min(ms, longestTimerMs))
    return promise
  }

  #end(): void {
    const resolve = this.#resolve
    if (!resolve) return
    this.#resolve = undefined
    clearTimeout(this.#timer)
    this.#timer = undefined
    // Before whoever waits goes on, and after what rings in the same breath: that ends this wait and no other.
    queueMicrotask(() => {
      this.#rung = false
    })
    resolve()
  }
}
