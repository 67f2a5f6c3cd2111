/**
 * One connection that is never replaced: once it is lost, every statement on it fails. The driver's pools
 * connect anew by themselves, which no lock and no open transaction survives; and its `begin` sends a
 * ROLLBACK to the connection that is gone, which ends the process (postgres.js 3.4.9).
 */
import postgres from 'postgres'
import type { Sql } from './client.ts'

export class Connection {
  readonly #sql: Sql
  #lost = false

  constructor(url: string, applicationName: string) {
    this.#sql = postgres(url, {
      max: 1,
      idle_timeout: 0,
      max_lifetime: null,
      connect_timeout: 10,
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

  /** What is open is rolled back by the server. */
  async end(timeoutSeconds: number): Promise<void> {
    this.#lost = true
    await this.#sql.end({ timeout: timeoutSeconds })
  }
}
