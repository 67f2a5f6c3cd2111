/**
 * One daemon at a time (I3). An advisory lock says which: PostgreSQL frees it when the session ends, also by
 * a kill, and the next daemon takes over at once. Whoever does not get it stands by. Behind a pooler a session
 * is one's own only for a transaction, so there the lock belongs to a transaction that stays open; the two kinds
 * exclude each other.
 *
 * States: *standing by* → *leading* (a heartbeat looks after the session) → *lost* (the session ended under
 * us; another daemon may lead already, so everything that writes must stop) → *standing by*.
 */
import { sleep } from '../clock.ts'
import { type Availability, isTransient } from '../db/availability.ts'
import type { Sql } from '../db/client.ts'
import { Connection } from '../db/connection.ts'
import type { Route } from '../db/pooler.ts'
import type { Log } from '../telemetry/log.ts'

/** Beside the migrations' lock; any two constants that nothing else in the database takes. */
const leadershipLock = 0x5917_1a42
const askAgainMs = 500
const heartbeatMs = 2_000
/** A session that does not answer is as good as gone: another daemon may have the lock already. */
const answerWithinMs = 5_000
/** A few questions long. */
const refusalHoldsMs = 10_000
const leaseName = 'daemon'
const tooSmall = "the pooler has no session left beside the lock's; it must allow two at least"

export interface LeadershipDeps {
  readonly url: string
  readonly route: Route
  readonly log: Log
  readonly availability: Availability
}

interface Session {
  readonly connection: Connection
  readonly pooled: boolean
}

export class Leadership {
  readonly #deps: LeadershipDeps
  #session: Session | undefined
  /** When it was last told that another daemon leads; monotonic milliseconds. */
  #refusedAt = Number.NEGATIVE_INFINITY

  constructor(deps: LeadershipDeps) {
    this.#deps = deps
  }

  /** The database says that another daemon leads, and said so just now. */
  get standsBy(): boolean {
    return performance.now() - this.#refusedAt < refusalHoldsMs
  }

  /** Resolves when this daemon leads; rejects with the signal's reason. */
  async acquire(signal: AbortSignal): Promise<void> {
    let waiting = false
    while (!(await this.#deps.availability.retry(() => this.#tryLock(), signal))) {
      // Only a line in the log: whatever goes wrong with it must not keep anybody from standing by.
      this.#refusedAt = performance.now()
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
      // It may hold the lock still, and whoever leads next must look again whether there is a pooler.
      void this.release()
      return
    }
  }

  async release(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    await session?.connection.end(1)
  }

  async #open(): Promise<Session> {
    if (this.#session && !this.#session.connection.lost) return this.#session
    const { url, route } = this.#deps
    route.forget()
    const pooled = await route.pooled()
    this.#session = { connection: new Connection(url, 'spillway leadership'), pooled }
    return this.#session
  }

  async #tryLock(): Promise<boolean> {
    const { connection, pooled } = await this.#open()
    try {
      if (pooled) {
        return await connection.within(answerWithinMs * 3, this.#tryLockInTransaction(connection))
      }
      const question = connection.sql`SELECT pg_try_advisory_lock(${leadershipLock}) AS locked`
      const [row] = await connection.within(answerWithinMs, question)
      return row?.locked === true
    } catch (error) {
      await this.release()
      throw error
    }
  }

  async #tryLockInTransaction(connection: Connection): Promise<boolean> {
    await connection.begin()
    const [row] = await connection.sql`SELECT pg_try_advisory_xact_lock(${leadershipLock}) AS locked`
    if (row?.locked === true) await this.#requireRoom()
    else await connection.sql`ROLLBACK`
    return row?.locked === true
  }

  /** A pool of one session would be used up by the lock. The error gives the lock back. */
  async #requireRoom(): Promise<void> {
    const second = new Connection(this.#deps.url, 'spillway leadership')
    const answered = new AbortController()
    try {
      const answer = second.sql`SELECT 1`.then(() => true)
      const room = await Promise.race([answer, sleep(answerWithinMs, answered.signal).then(() => false)])
      // Whoever closes the connection fails the statement that waits on it.
      answer.catch(() => {})
      if (!room) throw Object.assign(new Error(tooSmall), { code: 'POOL_TOO_SMALL' })
    } finally {
      answered.abort()
      await second.end(0)
    }
  }

  /** Throws when there is no session any more. */
  get #sql(): Sql {
    if (!this.#session) throw Object.assign(new Error('no session'), { code: 'CONNECTION_CLOSED' })
    return this.#session.connection.sql
  }

  async #holdsLock(): Promise<boolean> {
    const [row] = await this.#sql`
      SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
                     AND objid = ${leadershipLock} AND objsubid = 1 AND granted) AS held`
    return row?.held === true
  }

  async #sayWaiting(): Promise<void> {
    const question = this.#sql<
      { pid: number; application_name: string | null; backend_start: Date | null }[]
    >`SELECT a.pid, a.application_name, a.backend_start FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.objid = ${leadershipLock} AND l.objsubid = 1 AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1`
    const [holder] = (await this.#session?.connection.within(answerWithinMs, question)) ?? []
    this.#deps.log.emit('standby.waiting', {
      holder_pid: holder?.pid,
      // Both are hidden from a role that may not see other roles' sessions.
      holder_name: holder?.application_name ?? undefined,
      holder_since: holder?.backend_start?.getTime(),
    })
  }
}

/** Pid of the session that has the lead on a database; undefined when no daemon delivers. */
export async function findLeader(sql: Sql): Promise<number | undefined> {
  const [holder] = await sql<{ pid: number }[]>`
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND objid = ${leadershipLock} AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1`
  return holder?.pid
}
