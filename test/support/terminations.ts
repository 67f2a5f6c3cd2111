/** Somebody who ends the daemon's sessions, over and over: a failover, a firewall, an operator's script. */
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'
import { type Account, account } from './accounting.ts'
import { createAuditTable, variants } from './audit-table.ts'
import { briefLease, type DaemonProcess, startDaemon } from './daemon.ts'
import { insertDestination, settled } from './destinations.ts'
import { createScene } from './scene.ts'
import { writeAudit } from './writers/writers.ts'

export interface TroubledOptions {
  readonly seed: number
  /** Where the daemon connects to, given the database. */
  daemonUrl(url: string): Promise<string>
}

export interface Troubled {
  readonly sql: postgres.Sql
  readonly daemon: DaemonProcess
  /** Ends the daemon's sessions for a time; resolves with how many those were. */
  terminate(everyMs: number, forMs: number): Promise<number>
  /** Ends the writers, waits until all is settled, and stops the daemon. */
  finish(): Promise<{ readonly code: number | null; readonly account: Account }>
}

const orgs = ['acme', 'globex', 'initech'] as const

/** A daemon that delivers what writers write meanwhile. */
export async function startTroubled({ seed, daemonUrl }: TroubledOptions): Promise<Troubled> {
  const { url, sql, receiver } = await createScene()
  const table = await createAuditTable(sql, variants[0], orgs)
  const daemon = await startDaemon(await daemonUrl(url), {
    ...briefLease,
    SPILLWAY_INTER_BATCH_DELAY_MS: '0',
  })
  const id = await insertDestination(sql, {
    url: receiver.url,
    logTypes: [table.logType],
    delivery: { batchSize: 20 },
  })
  const writing = new AbortController()
  const { signal } = writing
  const written = writeAudit({ url, table, seed, writers: 6, signal, orgs, longestPauseMs: 100 })
  return {
    sql,
    daemon,
    terminate: (everyMs, forMs) => terminateSessions(sql, everyMs, forMs),
    async finish() {
      writing.abort()
      await written
      await settled(sql, id, null, table)
      const code = await daemon.stop()
      return { code, account: await account(sql, receiver.requests, null, { table }) }
    },
  }
}

async function terminateSessions(sql: postgres.Sql, everyMs: number, forMs: number): Promise<number> {
  const until = performance.now() + forMs
  let ended = 0
  while (performance.now() < until) {
    const sessions = await sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND application_name LIKE 'spillway%'`
    ended += sessions.length
    await delay(everyMs)
  }
  return ended
}
