/** Which timeline a server writes: a failover to a standby and a restore to a point in time begin a new one. */
import { errorCode } from './availability.ts'

/** The second one follows a while after a promotion, where hosts keep the first one back. */
const expressions = [
  'left(pg_walfile_name(pg_current_wal_insert_lsn()), 8)',
  `(SELECT upper(lpad(to_hex(timeline_id), 8, '0')) FROM pg_control_checkpoint())`,
] as const

/** The SQL expression of it that the server allows; a constant where it allows none. Rejects while it does not answer. */
export async function findTimeline(ask: (expression: string) => Promise<unknown>): Promise<string> {
  for (const expression of expressions) {
    try {
      await ask(expression)
      return expression
    } catch (error) {
      if (!refusals.has(errorCode(error) ?? '')) throw asReadOnly(error)
    }
  }
  return `''`
}

/** Insufficient privilege, feature not supported. */
const refusals = new Set(['42501', '0A000'])

/** A standby says that recovery is in progress, which is no state that lasts. */
function asReadOnly(error: unknown): unknown {
  if (errorCode(error) !== '55000') return error
  return Object.assign(new Error('the server is a standby', { cause: error }), { code: '25006' })
}
