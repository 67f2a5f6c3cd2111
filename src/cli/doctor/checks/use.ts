/** Whether somebody gets a source's rows. */
import type { SourceDefinition } from '../../../sources/source.ts'
import { type Finding, type Subject, warning } from '../finding.ts'
import type { Patient } from '../patient.ts'

/** Spillway's own tables: registered for everybody, used by some. */
export const builtIn: ReadonlySet<string> = new Set([
  'spillway.request_audit_log',
  'spillway.action_audit_log',
  'spillway.access_audit_log',
  'spillway.connection_audit_log',
])

export async function checkUse(
  { destinations, source: { sql } }: Patient,
  { logType, relation, enabled }: SourceDefinition,
  subject: Subject,
): Promise<Finding[]> {
  const users = destinations.filter(({ row }) => row.logTypes.includes(logType))
  if (!enabled) {
    const waiting = users.filter(({ row }) => row.enabled).length
    if (waiting === 0) return []
    const message = `It is disabled, and its rows wait for ${waiting === 1 ? 'a destination' : `${waiting} destinations`}.`
    const remedy = `UPDATE spillway.sources SET enabled = true WHERE log_type = '${logType}';`
    return [warning('source.disabled', subject, message, remedy)]
  }
  if (users.length > 0 || (builtIn.has(relation) && !(await hasRows(sql, relation)))) return []
  const message = `No destination has the log type ${logType}: its rows go nowhere.`
  const remedy = `spillway destinations add --log-types ${logType} …, or UPDATE spillway.sources SET enabled = false WHERE log_type = '${logType}';`
  return [warning('source.unforwarded', subject, message, remedy)]
}

async function hasRows(sql: Patient['source']['sql'], relation: string): Promise<boolean> {
  const [table] = await sql<{ there: boolean }[]>`SELECT to_regclass(${relation}) IS NOT NULL AS there`
  if (!table?.there) return false
  const [row] = await sql.unsafe<{ found: boolean }[]>(`SELECT EXISTS (SELECT FROM ${relation}) AS found`)
  return row?.found === true
}
