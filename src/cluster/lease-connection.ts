/**
 * The connection that leases are kept by: one of its own, so that no other statement keeps a renewal waiting, and never
 * trusted for long. A statement without an answer costs the connection, and the next one opens another; whatever is
 * cut without a word is found out so, well before a lease ends.
 */
import { sleep } from '../clock.ts'
import type { Sql } from '../db/client.ts'
import { Connection } from '../db/connection.ts'
import type { Route } from '../db/pooler.ts'

export interface LeaseConnectionOptions {
  readonly url: string
  readonly route: Route
  /** As the way to the database was found to be at the start. */
  readonly pooled: boolean
  readonly answerWithinMs: number
  /** There is a pooler now and was none before, or the other way round: the other connections do not fit any more. */
  onRerouted(): void
  /** A connection that was cut without a word has a successor that is answered. */
  onRegained(): void
}

export class LeaseConnection {
  readonly #options: LeaseConnectionOptions
  #connection: Connection | undefined
  #opening: Promise<Connection> | undefined
  #isFirst = true
  #isDropped = false
  #closed = false

  constructor(options: LeaseConnectionOptions) {
    this.#options = options
  }

  /** Rejects with a transient error when there is no answer in time. */
  async run<T>(statement: (sql: Sql) => PromiseLike<T>): Promise<T> {
    const answered = new AbortController()
    const late = sleep(this.#options.answerWithinMs, answered.signal).then(() => {
      if (!answered.signal.aborted) this.#drop()
      throw Object.assign(new Error('the database does not answer'), { code: 'ETIMEDOUT' })
    })
    late.catch(() => {})
    try {
      const answer = this.#open().then(({ sql }) => statement(sql))
      // Whoever drops the connection fails the statement that waits on it.
      answer.catch(() => {})
      const result = await Promise.race([answer, late])
      if (this.#isDropped) this.#options.onRegained()
      this.#isDropped = false
      return result
    } finally {
      answered.abort()
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const connection = this.#connection
    this.#connection = undefined
    await connection?.end(1)
  }

  #drop(): void {
    this.#isDropped = true
    const connection = this.#connection
    this.#connection = undefined
    this.#opening = undefined
    void connection?.end(0)
  }

  #open(): Promise<Connection> {
    if (this.#closed)
      throw Object.assign(new Error('the connection is closed'), { code: 'CONNECTION_CLOSED' })
    if (this.#connection && !this.#connection.lost) return Promise.resolve(this.#connection)
    if (this.#opening) return this.#opening
    const opening = this.#connect().finally(() => {
      if (this.#opening === opening) this.#opening = undefined
    })
    this.#opening = opening
    return opening
  }

  async #connect(): Promise<Connection> {
    const { url, route, pooled, onRerouted } = this.#options
    if (!this.#isFirst) {
      route.forget()
      if ((await route.pooled()) !== pooled) onRerouted()
    }
    this.#isFirst = false
    this.#connection = new Connection(url, 'spillway leases')
    return this.#connection
  }
}
