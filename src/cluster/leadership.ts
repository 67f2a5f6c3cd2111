/**
 * One daemon at a time (I3). A session-level advisory lock says which: PostgreSQL frees it when the session
 * ends, also by a kill, and the next daemon takes over at once. Whoever does not get it stands by.
 *
 * States: *standing by* → *leading* (a heartbeat looks after the session) → *lost* (the session ended under
 * us; another daemon may lead already, so everything that writes must stop) → *standing by*.
 */

import postgres from 'postgres'
import { sleep } from '../clock.ts'
import { type Availability, isTransient } from '../db/availability.ts'
import type { Log } from '../telemetry/log.ts'

/** Beside the migrations' lock; any two constants that nothing else in the database takes. */
const leadershipLock = 0x5917_1a42
const askAgainMs = 500
const heartbeatMs = 2_000
/** A session that does not answer is as good as gone: another daemon may have the lock already. */
const answerWithinMs = 5_000
const leaseName = 'daemon'

export interface LeadershipDeps {
  readonly url: string
  readonly log: Log
  readonly availability: Availability
}

export class Leadership {
  readonly #deps: LeadershipDeps
  #session: postgres.Sql | undefined

  constructor(deps: LeadershipDeps) {
    this.#deps = deps
  }

  /** Resolves when this daemon leads; rejects with the signal's reason. */
  async acquire(signal: AbortSignal): Promise<void> {
    let waiting = false
    while (!(await this.#deps.availability.retry(() => this.#tryLock(), signal))) {
      // Only a line in the log: whatever goes wrong with it must not keep anybody from standing by.
      if (!waiting) await this.#sayWaiting().catch(() => {})
      waiting = true
      await sleep(askAgainMs, signal)
    }
    this.#deps.log.emit('lease.acquired', { lease: leaseName })
  }

  /** Resolves when the leadership is lost, or when `signal` aborts. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(heartbeatMs, signal)
      if (signal.aborted) return
      try {
        const held = await Promise.race([this.#holdsLock(), sleep(answerWithinMs, signal).then(() => false)])
        if (held || signal.aborted) continue
      } catch (error) {
        if (!isTransient(error)) throw error
      }
      this.#deps.log.emit('lease.lost', { lease: leaseName, reason: 'disconnected' })
      return
    }
  }

  async release(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    await session?.end({ timeout: 1 })
  }

  /** One connection that is never replaced silently: the lock is its session's. */
  #connect(): postgres.Sql {
    this.#session ??= postgres(this.#deps.url, {
      max: 1,
      idle_timeout: 0,
      max_lifetime: null,
      connect_timeout: 5,
      fetch_types: false,
      onnotice: () => {},
      connection: { application_name: 'spillway leadership' },
    })
    return this.#session
  }

  async #tryLock(): Promise<boolean> {
    const [row] = await this.#connect()`SELECT pg_try_advisory_lock(${leadershipLock}) AS locked`
    return row?.locked === true
  }

  /** The driver reconnects by itself, so a query that works does not show that the session is the old one. */
  async #holdsLock(): Promise<boolean> {
    const [row] = await this.#connect()`
      SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
                     AND objid = ${leadershipLock} AND objsubid = 1 AND granted) AS held`
    return row?.held === true
  }

  async #sayWaiting(): Promise<void> {
    const [holder] = await this.#connect()<
      { pid: number; application_name: string | null; backend_start: Date | null }[]
    >`SELECT a.pid, a.application_name, a.backend_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.objid = ${leadershipLock} AND l.objsubid = 1 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1`
    this.#deps.log.emit('standby.waiting', {
      holder_pid: holder?.pid,
      // Both are hidden from a role that may not see other roles' sessions.
      holder_name: holder?.application_name ?? undefined,
      holder_since: holder?.backend_start?.getTime(),
    })
  }
}
