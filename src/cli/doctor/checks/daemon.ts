/** Whether a daemon is at work. */
import { leadershipLock } from '../../../cluster/leadership.ts'
import { type Finding, fine, warning } from '../finding.ts'
import type { Patient } from '../patient.ts'

export async function checkDaemon({ state: { sql, subject } }: Patient): Promise<Finding[]> {
  const [holder] = await sql<{ pid: number }[]>`
    SELECT pid FROM pg_locks
    WHERE locktype = 'advisory' AND objid = ${leadershipLock} AND objsubid = 1 AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) LIMIT 1`
  if (holder) return [fine('daemon', subject, `A daemon delivers (session ${holder.pid} has the lead).`)]
  return [warning('daemon.absent', subject, 'No daemon runs: nothing is delivered.', 'spillway run')]
}
