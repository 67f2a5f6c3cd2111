/**
 * Which errors of the database pass by themselves, and waiting for it to come back. One `Availability` is
 * shared by all users of a pool: an outage is logged once, however many wait, and its end once.
 */
import { sleep } from '../clock.ts'
import type { Log } from '../telemetry/log.ts'

/** Classes and codes of SQLSTATE after which the same statement may work (PostgreSQL, Appendix A). */
const transientClasses = new Set([
  '08', // connection exceptions
  '53', // insufficient resources: too many connections, disk full, out of memory
  '57', // operator intervention: shutdown, cancelled by a time-out, crash recovery
])
const transientCodes = new Set([
  '40001', // serialization failure
  '40P01', // deadlock detected
  '55P03', // lock not available
  '25P02', // transaction aborted
  '25006', // read-only: a failover is under way, or the storage is full
  '25P03', // idle-in-transaction time-out ended the session
  // Our own, about a pooler.
  'POOLER_FOUND',
  // The driver's own and the operating system's.
  'CONNECTION_CLOSED',
  'CONNECTION_DESTROYED',
  'CONNECT_TIMEOUT',
  'ECONNREFUSED',
  'ECONNABORTED',
  'ENETDOWN',
  // A socket file that is not there yet.
  'ENOENT',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
])

/** The error's own code, or that of what caused it. */
export function errorCode(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  if ('code' in error && typeof error.code === 'string') return error.code
  return 'cause' in error ? errorCode(error.cause) : undefined
}

export function isTransient(error: unknown): boolean {
  const code = errorCode(error)
  if (code === undefined) return false
  return transientCodes.has(code) || (code.length === 5 && transientClasses.has(code.slice(0, 2)))
}

/** The server gave a statement up: it took longer than statement_timeout allows, or somebody cancelled it. */
export function isCancelled(error: unknown): boolean {
  return errorCode(error) === '57014'
}

/** Row level security. The code is that of a missing privilege, the words are the server's language: PostgreSQL's function tells. */
export function isAboutPolicy(error: unknown): boolean {
  return error instanceof Error && 'routine' in error && error.routine === 'check_enable_rls'
}

/** Two statements stood in each other's way. The database is there, and waiting for it is no outage. */
const contentionCodes = new Set(['40001', '40P01', '55P03'])

/** Pauses between attempts: soon at first, since most outages are a dropped connection. */
const firstPauseMs = 100
const longestPauseMs = 2_000

export class Availability {
  readonly #log: Log
  readonly #database: 'state' | 'source'
  #downSince: number | undefined

  constructor(log: Log, database: 'state' | 'source') {
    this.#log = log
    this.#database = database
  }

  get down(): boolean {
    return this.#downSince !== undefined
  }

  /**
   * Runs `work` until it does not fail for the database's absence; `work` must bear being run again.
   * Rejects with the signal's reason when it aborts, and with `work`'s own error when that is not transient.
   */
  async retry<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
    for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
      signal.throwIfAborted()
      try {
        const result = await work()
        this.reportUp()
        return result
      } catch (error) {
        if (!isTransient(error)) throw error
        this.reportDown(error)
        await sleep(pauseMs, signal)
      }
    }
  }

  reportDown(error: unknown): void {
    if (this.#downSince !== undefined || contentionCodes.has(errorCode(error) ?? '')) return
    this.#downSince = performance.now()
    const code = errorCode(error) ?? 'unknown'
    // A host with several addresses fails with one error for each, and no words of its own.
    const message = (error instanceof Error && error.message) || code
    this.#log.emit('database.unavailable', { database: this.#database, code, message })
  }

  reportUp(): void {
    if (this.#downSince === undefined) return
    const downMs = Math.round(performance.now() - this.#downSince)
    this.#downSince = undefined
    this.#log.emit('database.recovered', { database: this.#database, down_ms: downMs })
  }
}
