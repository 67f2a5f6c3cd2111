/**
 * The connection that leases are kept by: one of its own, so that no other statement keeps a renewal waiting, and never
 * trusted for long. A statement without an answer costs the connection, and the next one opens another; whatever is
 * cut without a word is found out so, well before a lease ends.
 */
import { errorCode } from '../db/availability.ts'
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
  #connection: Connection
  #opening: Promise<Connection> | undefined
  #isDropped = false
  #closed = false

  constructor(options: LeaseConnectionOptions) {
    this.#options = options
    this.#connection = connect(options.url)
  }

  /** Rejects with a transient error when there is no answer in time. */
  async run<T>(statement: (sql: Sql) => PromiseLike<T>): Promise<T> {
    const connection = await this.#open()
    try {
      const answer = await connection.within(this.#options.answerWithinMs, statement(connection.sql))
      if (this.#isDropped) this.#options.onRegained()
      this.#isDropped = false
      return answer
    } catch (error) {
      if (errorCode(error) === 'ETIMEDOUT') this.#isDropped = true
      throw error
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#connection.end(1)
  }

  async #open(): Promise<Connection> {
    if (!this.#connection.lost || this.#closed) return this.#connection
    // Statements that come together open one together.
    this.#opening ??= this.#reopen().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #reopen(): Promise<Connection> {
    const { url, route, pooled, onRerouted } = this.#options
    route.forget()
    if ((await route.pooled()) !== pooled) onRerouted()
    this.#connection = connect(url)
    return this.#connection
  }
}

const connect = (url: string) => new Connection(url, 'spillway leases')
