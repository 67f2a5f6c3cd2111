/** Whether a daemon is at work. */
import { findReplicas } from '../../../cluster/lease-store.ts'
import { type Finding, fine, warning } from '../finding.ts'
import type { Patient } from '../patient.ts'

export async function checkDaemon({ state: { sql, subject } }: Patient): Promise<Finding[]> {
  const replicas = await findReplicas(sql)
  if (replicas.length === 0) {
    return [warning('daemon.absent', subject, 'No daemon runs: nothing is delivered.', 'spillway run')]
  }
  const shares = replicas.map(({ host, shards }) => `${host} ${shards}`).join(', ')
  const daemons = replicas.length === 1 ? 'A daemon delivers' : `${replicas.length} daemons deliver`
  return [fine('daemon', subject, `${daemons} (shards held: ${shares}).`)]
}
