/** Somebody who ends the daemon's sessions, over and over: a failover, a firewall, an operator's script. */
import { setTimeout as delay } from 'node:timers/promises'
import type postgres from 'postgres'

/** Resolves with how many sessions were ended, when `signal` aborts. */
export async function terminateSessions(
  sql: postgres.Sql,
  everyMs: number,
  signal: AbortSignal,
): Promise<number> {
  let ended = 0
  while (!signal.aborted) {
    const sessions = await sql`
      SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE datname = current_database() AND application_name LIKE 'spillway%'`
    ended += sessions.length
    await delay(everyMs)
  }
  return ended
}
