/**
 * Whether a database answers, asked every few seconds through the pool that the work goes through, so that an idle
 * daemon knows it too. There is one question at a time: one that hangs is not joined by others.
 */
import { sleep } from '../clock.ts'
import { errorCode } from './availability.ts'

export interface ProbeOptions {
  readonly database: 'state' | 'source'
  /** Asks; resolves with what is wrong with the answer, in short sentences. */
  ask(): Promise<readonly string[]>
  /** The question may be late because it waits for its turn, while others are answered. */
  readonly isQueued?: () => boolean
  readonly everyMs?: number
  /** Without an answer for so long it counts as away. */
  readonly answerWithinMs?: number
  readonly now?: () => number
}

const defaultEveryMs = 3_000
const defaultAnswerWithinMs = 10_000

export class DatabaseProbe {
  readonly #options: ProbeOptions
  readonly #now: () => number
  #askedAt: number | undefined
  #problems: readonly string[] = []

  constructor(options: ProbeOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
  }

  /** Until `signal` aborts, also while a question is open. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
    while (!signal.aborted) {
      await Promise.race([this.runOnce(), ended])
      await sleep(this.#options.everyMs ?? defaultEveryMs, signal)
    }
  }

  async runOnce(): Promise<void> {
    this.#askedAt = this.#now()
    try {
      this.#problems = await this.#options.ask()
    } catch (error) {
      const { database } = this.#options
      this.#problems = [`${database} database: cannot be used (${errorCode(error) ?? 'unknown error'})`]
    }
    this.#askedAt = undefined
  }

  get problems(): readonly string[] {
    const { database, isQueued, answerWithinMs = defaultAnswerWithinMs } = this.#options
    const waitsMs = this.#askedAt === undefined ? 0 : this.#now() - this.#askedAt
    if (waitsMs < answerWithinMs || isQueued?.()) return this.#problems
    return [`${database} database: no answer for ${Math.floor(waitsMs / 1_000)} s`]
  }
}
