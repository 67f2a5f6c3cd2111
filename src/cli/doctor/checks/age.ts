/** Events that wait for destinations whose providers take none beyond an age. */
import { FleetStore } from '../../../delivery/fleet-store.ts'
import type { Destination } from '../../../destinations/destination.ts'
import { comparePositions } from '../../../sources/position.ts'
import { Reader } from '../../../sources/reader.ts'
import { formatDuration } from '../../format.ts'
import { type Finding, problem, warning } from '../finding.ts'
import type { DestinationState, FoundSource, Patient } from '../patient.ts'
import { parsed, subjectOf } from './destinations.ts'

/** The rows that are next; timestamps rise with them, mostly. */
const page = { rows: 50, bytes: 1024 * 1024 }

export async function checkAge(patient: Patient, sources: readonly FoundSource[]): Promise<Finding[]> {
  const limited = patient.destinations.flatMap((state) => {
    const destination = state.row.enabled ? parsed(state, patient) : undefined
    const maxAgeMs = destination?.configured.limits.maxEventAgeMs
    return destination && maxAgeMs !== undefined ? [{ state, destination, maxAgeMs }] : []
  })
  if (limited.length === 0) return []
  // The daemon goes by the database's clock.
  const [clock] = await patient.state.sql<{ now_ms: number }[]>`
    SELECT (extract(epoch FROM now()) * 1000)::float8 AS now_ms`
  const now = clock?.now_ms ?? 0
  const findings: Finding[] = []
  for (const { state, destination, maxAgeMs } of limited) {
    for (const { source } of sources) {
      const { logType } = source.definition
      if (!destination.logTypes.includes(logType) || !source.ordered) continue
      const oldest = await oldestWaiting(patient, destination, source)
      if (oldest === undefined) continue
      findings.push(...judge(state, logType, now - oldest, maxAgeMs, patient.limits.nearShare))
    }
  }
  return findings
}

async function oldestWaiting(
  { state, sourceSql }: Patient,
  { id, orgId }: Destination,
  source: FoundSource['source'],
): Promise<number | undefined> {
  const { logType, ordering } = source.definition
  const cursor = (await new FleetStore(state.sql).load([id])).get(id)?.cursors.get(logType)
  if (!cursor) return undefined
  const { position, start } = cursor
  const upTo = ordering === 'id' ? '9223372036854775807' : '18446744073709551615'
  const scope = start && comparePositions(position, start.until) < 0 ? { orgId, start } : { orgId }
  const { rows } = await new Reader(sourceSql, source).readPage(scope, { after: position, upTo }, page)
  return rows.length === 0 ? undefined : Math.min(...rows.map(({ event }) => event.timestampMs))
}

function judge(
  state: DestinationState,
  logType: string,
  ageMs: number,
  maxAgeMs: number,
  nearShare: number,
): Finding[] {
  if (ageMs <= maxAgeMs * nearShare) return []
  const { id, type } = state.row
  const subject = subjectOf(state)
  const figures = `An event of ${logType} that waits for it is ${formatDuration(ageMs)} old; ${type} takes none older than ${formatDuration(maxAgeMs)}`
  const remedy = `Find out why it is behind: spillway destinations test ${id}; larger delivery.batchSize, smaller delivery.interBatchDelayMs. Events that are written with old timestamps need another destination.`
  return ageMs > maxAgeMs
    ? [problem('timestamps.too_old', subject, `${figures}. It will be skipped, on the record.`, remedy)]
    : [warning('timestamps.nearly_too_old', subject, `${figures}.`, remedy)]
}
