/**
 * One connection that is never replaced: once it is lost, every statement on it fails. The driver's pools
 * connect anew by themselves, which no lock and no open transaction survives; and its `begin` sends a
 * ROLLBACK to the connection that is gone, which ends the process (postgres.js 3.4.9).
 */
import postgres from 'postgres'
import { sleep } from '../clock.ts'
import { keepAliveSeconds, type Sql } from './client.ts'

export class Connection {
  readonly #sql: Sql
  #lost = false

  constructor(url: string, applicationName: string) {
    this.#sql = postgres(url, {
      max: 1,
      idle_timeout: 0,
      max_lifetime: null,
      connect_timeout: 10,
      keep_alive: keepAliveSeconds,
      fetch_types: false,
      // Statements that are run once; and a pooler has another session for each transaction.
      prepare: false,
      onnotice: () => {},
      onclose: () => {
        this.#lost = true
      },
      connection: { application_name: applicationName },
    })
  }

  get lost(): boolean {
    return this.#lost
  }

  /** For one statement; take it anew for the next. Throws when the connection is lost. */
  get sql(): Sql {
    if (this.#lost) throw Object.assign(new Error('the connection is lost'), { code: 'CONNECTION_CLOSED' })
    return this.#sql
  }

  /**
   * Begins a transaction that no limit of the role or the database ends: neither while it waits for a lock nor
   * while it stays open. Each statement sees what is committed by then.
   */
  async begin(): Promise<void> {
    await this.sql.unsafe(`
      BEGIN ISOLATION LEVEL READ COMMITTED;
      SELECT set_config(name, '0', true) FROM pg_settings WHERE name IN
        ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'transaction_timeout')`)
  }

  /** Waits for the answer to a statement of this connection at most `ms`; without it the connection is given up. */
  async within<T>(ms: number, answer: PromiseLike<T>): Promise<T> {
    const answered = new AbortController()
    const late = sleep(ms, answered.signal).then(() => {
      if (!answered.signal.aborted) void this.end(0)
      throw Object.assign(new Error(`no answer within ${ms / 1_000} s`), { code: 'ETIMEDOUT' })
    })
    late.catch(() => {})
    try {
      return await Promise.race([answer, late])
    } finally {
      answered.abort()
      // Whoever closes the connection fails the statement that waits on it.
      Promise.resolve(answer).catch(() => {})
    }
  }

  /** What is open is rolled back by the server. */
  async end(timeoutSeconds: number): Promise<void> {
    this.#lost = true
    await this.#sql.end({ timeout: timeoutSeconds })
  }
}
