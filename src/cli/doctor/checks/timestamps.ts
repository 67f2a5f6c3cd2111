/** Timestamps that cannot be right, in the last rows. */
import { quoteIdentifier } from '../../../events/columns.ts'
import { formatCount, formatCountOf } from '../../format.ts'
import { type Finding, fine, warning } from '../finding.ts'
import type { FoundSource, Patient } from '../patient.ts'
import { sampled } from '../sample.ts'

const year1990 = Date.UTC(1990)

export async function checkTimestamps(
  patient: Patient,
  { source, subject }: FoundSource,
): Promise<Finding[]> {
  const sample = await sampled(patient, source, patient.limits.sampleRows)
  if (!sample || sample.rows.length === 0) return []
  const { rows, now } = sample
  const { timestampColumn, relation } = source.definition
  const of = `of the last ${formatCountOf(rows.length, 'row')}`
  const instants = rows.flatMap(({ at }) => (at === undefined ? [] : [at]))
  const late = instants.filter((at) => at > now + patient.limits.futureMs)
  const early = instants.filter((at) => at < year1990)
  const missing = rows.length - instants.length
  const findings: Finding[] = []
  if (late.length > 0) {
    findings.push(
      warning(
        'timestamps.future',
        subject,
        `${formatCount(late.length)} ${of} lie in the future, up to ${iso(Math.max(...late))}. Receivers drop such events or file them wrongly.`,
        `Mend what writes ${timestampColumn}: its clock, its unit (seconds, milliseconds) or its time zone.`,
      ),
    )
  }
  if (early.length + missing > 0) {
    const earliest = early.length > 0 ? `, the earliest ${iso(Math.min(...early))}` : ''
    findings.push(
      warning(
        'timestamps.past',
        subject,
        `${formatCount(early.length + missing)} ${of} have no timestamp (${formatCount(missing)}) or one before 1990${earliest}. They are sent as of 1970 or as they are; providers with an age limit never get them.`,
        `Mend what writes ${timestampColumn}, mostly its unit (seconds, milliseconds); ALTER TABLE ${relation} ALTER COLUMN ${quoteIdentifier(timestampColumn)} SET NOT NULL;`,
      ),
    )
  }
  if (findings.length > 0) return findings
  return [fine('timestamps', subject, `The timestamps ${of} are plausible.`)]
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}
