/** Whether a daemon is at work. */
import { findLeader } from '../../../cluster/leadership.ts'
import { type Finding, fine, warning } from '../finding.ts'
import type { Patient } from '../patient.ts'

export async function checkDaemon({ state: { sql, subject } }: Patient): Promise<Finding[]> {
  const leader = await findLeader(sql)
  if (leader !== undefined) {
    return [fine('daemon', subject, `A daemon delivers (session ${leader} has the lead).`)]
  }
  return [warning('daemon.absent', subject, 'No daemon runs: nothing is delivered.', 'spillway run')]
}
