/**
 * Name resolution in which slow names wait for each other and for nobody else (I6).
 *
 * The system's resolver takes a thread for as long as it asks, and there are few: a customer whose name
 * servers do not answer would have every other name wait. So a name is asked for once at a time, however many
 * want to know it. One that has taken longer than a second is slow from then on, and of the slow ones a few
 * are asked for at once, which leaves threads to the others. A quick answer makes it an ordinary name again.
 */
import type { LookupAddress } from 'node:dns'
import type { LookupFunction } from 'node:net'

type Answer = Parameters<LookupFunction>[2]

export interface LookupsOptions {
  readonly slowMs?: number
  /** Slow names that are asked for at once. */
  readonly maxSlow?: number
}

/** A name server that is there answers in a small part of it. */
const defaultSlowMs = 1_000

/** Half of those that libuv gives to name resolution, with the threads that main.ts asks for. */
const defaultMaxSlow = 8

/** Of slow names remembered; the oldest is forgotten, and has to prove it once more. */
const maxRemembered = 10_000

export class Lookups {
  readonly #resolve: LookupFunction
  readonly #slowMs: number
  readonly #maxSlow: number
  /** Those who wait for a name that is asked for, or is about to be. */
  readonly #asking = new Map<string, Answer[]>()
  readonly #slowNames = new Set<string>()
  readonly #queue: (() => void)[] = []
  #slowOnes = 0

  constructor(
    resolve: LookupFunction,
    { slowMs = defaultSlowMs, maxSlow = defaultMaxSlow }: LookupsOptions = {},
  ) {
    this.#resolve = resolve
    this.#slowMs = slowMs
    this.#maxSlow = maxSlow
  }

  /** Always answers with all addresses, whatever `options.all` says. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    const waiting = this.#asking.get(hostname)
    if (waiting) {
      waiting.push(callback)
      return
    }
    this.#asking.set(hostname, [callback])
    if (!this.#slowNames.has(hostname)) {
      this.#ask(hostname, options, () => {})
      return
    }
    const begin = () => this.#ask(hostname, options, () => this.#nextSlow())
    if (this.#slowOnes < this.#maxSlow) {
      this.#slowOnes += 1
      begin()
    } else this.#queue.push(begin)
  }

  #ask(hostname: string, options: Parameters<LookupFunction>[1], done: () => void): void {
    let late = false
    const timer = setTimeout(() => {
      late = true
      this.#rememberSlow(hostname)
    }, this.#slowMs)
    timer.unref()
    this.#resolve(hostname, { ...options, all: true }, (error, found) => {
      clearTimeout(timer)
      if (!late) this.#slowNames.delete(hostname)
      const waiting = this.#asking.get(hostname) ?? []
      this.#asking.delete(hostname)
      done()
      const addresses: LookupAddress[] = Array.isArray(found) ? found : []
      for (const answer of waiting) answer(error, addresses)
    })
  }

  #nextSlow(): void {
    const begin = this.#queue.shift()
    if (begin) begin()
    else this.#slowOnes -= 1
  }

  #rememberSlow(hostname: string): void {
    this.#slowNames.delete(hostname)
    this.#slowNames.add(hostname)
    const [oldest] = this.#slowNames
    if (this.#slowNames.size > maxRemembered && oldest !== undefined) this.#slowNames.delete(oldest)
  }
}
