/** Destinations as the daemon would judge them, and how near their backlogs are to being given up. */
import { DestinationConfigError } from '../../../../providers/provider.ts'
import type { DeliverySettings } from '../../../destinations/delivery-settings.ts'
import { type Destination, parseDestination } from '../../../destinations/destination.ts'
import { formatCountOf, formatDuration } from '../../format.ts'
import { type Finding, fine, problem, type Subject, warning } from '../finding.ts'
import type { DestinationState, Patient } from '../patient.ts'

export async function checkDestinations(patient: Patient): Promise<Finding[]> {
  const findings = patient.destinations.flatMap((state) => checkDestination(state, patient))
  const ill = new Set(findings.map(({ subject }) => subject.name)).size
  const well = patient.destinations.length - ill
  if (well > 0) {
    const message = `${formatCountOf(well, 'destination')} ${well === 1 ? 'is' : 'are'} valid and ${well === 1 ? 'does' : 'do'} not fail.`
    findings.push(fine('destinations', patient.state.subject, message))
  }
  return findings
}

export function subjectOf({ row }: DestinationState): Subject {
  return { kind: 'destination', name: String(row.id) }
}

/** The destination; undefined where the daemon would refuse its row. */
export function parsed(state: DestinationState, { rules }: Patient): Destination | undefined {
  try {
    return parseDestination(state.row, rules)
  } catch (error) {
    if (error instanceof DestinationConfigError) return undefined
    throw error
  }
}

function checkDestination(state: DestinationState, patient: Patient): Finding[] {
  const { row } = state
  const subject = subjectOf(state)
  const { rules, limits } = patient
  try {
    const { delivery } = parseDestination(row, rules)
    return row.enabled
      ? failing(state, delivery, subject, limits.nearShare)
      : disabled(state, delivery, subject, limits.nearShare)
  } catch (error) {
    if (!(error instanceof DestinationConfigError)) throw error
    return invalid(state, error, subject, patient)
  }
}

function invalid(
  { row }: DestinationState,
  { fields }: DestinationConfigError,
  subject: Subject,
  { rules }: Patient,
): Finding[] {
  const homeless = row.logTypes.filter((each) => typeof each === 'string' && !rules.logTypes.has(each))
  const others = fields.filter(({ problem }) => !homeless.some((each) => isHomeless(problem, each)))
  const findings: Finding[] = []
  if (homeless.length > 0) {
    const known = [...rules.logTypes.keys()].join(', ')
    const list = homeless.join(', ')
    findings.push(
      problem(
        'destination.no_source',
        subject,
        `No source is registered for ${list}, which makes the whole destination invalid: nothing is delivered to it.`,
        `spillway sources add ${homeless[0]} …, or UPDATE spillway.destinations SET log_types = … WHERE id = ${row.id}; (known: ${known}).`,
      ),
    )
  }
  if (others.length > 0) {
    const list = others.map(({ field, problem }) => `${field} ${problem}`).join('; ')
    findings.push(
      problem(
        'destination.invalid',
        subject,
        `The row cannot be used, nothing is delivered: ${list}.`,
        `UPDATE spillway.destinations SET … WHERE id = ${row.id}; for the fields named above.`,
      ),
    )
  }
  return findings
}

function isHomeless(problem: string, logType: string): boolean {
  return problem.startsWith(`"${logType.slice(0, 64)}" has no source`)
}

function disabled(
  { row, disabledForMs, lastError }: DestinationState,
  delivery: DeliverySettings,
  subject: Subject,
  nearShare: number,
): Finding[] {
  const since = disabledForMs === null ? '' : ` for ${formatDuration(disabledForMs)}`
  const enable = `spillway destinations enable ${row.id}`
  const why = lastError === null ? '' : ` Its last error: ${lastError}`
  const ms = disabledForMs ?? 0
  if (delivery.onBacklogExpiry === 'skip' && ms > delivery.maxBacklogAgeMs * nearShare) {
    const gone = ms >= delivery.maxBacklogAgeMs ? 'is skipped' : 'will be skipped'
    return [
      problem(
        'backlog.expiring',
        subject,
        `It has been disabled${since}; its maximum is ${formatDuration(delivery.maxBacklogAgeMs)}, after which what came in meanwhile ${gone} when it is enabled.${why}`,
        `${enable}; or raise delivery.maxBacklogAgeMs first, or set delivery.onBacklogExpiry to "hold". DELETE it if nobody wants it.`,
      ),
    ]
  }
  const message = `It has been disabled${since}; its events wait.${why}`
  return [warning('destination.disabled', subject, message, `${enable}; or DELETE it if nobody wants it.`)]
}

function failing(
  { row, status, failingForMs, lastError }: DestinationState,
  delivery: DeliverySettings,
  subject: Subject,
  nearShare: number,
): Finding[] {
  const findings: Finding[] = []
  const test = `spillway destinations test ${row.id}`
  const said = lastError === null ? '' : ` Its last error: ${lastError}`
  const { maxBacklogAgeMs, onBacklogExpiry } = delivery
  const maximum = formatDuration(maxBacklogAgeMs)
  const since = formatDuration(failingForMs ?? 0)
  if (status === 'unauthorized') {
    findings.push(
      problem(
        'destination.unauthorized',
        subject,
        `The receiver refuses the credentials: nothing arrives.${said}`,
        `UPDATE spillway.destinations SET config = … WHERE id = ${row.id}; with new credentials.`,
      ),
    )
  }
  if (failingForMs === null) return findings
  if (onBacklogExpiry === 'skip' && failingForMs > maxBacklogAgeMs * nearShare) {
    findings.push(
      problem(
        'backlog.expiring',
        subject,
        `It has failed for ${since}; after ${maximum} its backlog is skipped.${said}`,
        `Mend the endpoint (${test}), or raise delivery.maxBacklogAgeMs, or set delivery.onBacklogExpiry to "hold".`,
      ),
    )
  } else if (onBacklogExpiry === 'hold' && failingForMs >= maxBacklogAgeMs) {
    findings.push(
      problem(
        'backlog.held',
        subject,
        `It has failed for ${since}, longer than its maximum of ${maximum}, and holds its backlog: it stands still until the endpoint answers.${said}`,
        `Mend the endpoint (${test}), and keep the rows in the source until then.`,
      ),
    )
  } else if (status !== 'unauthorized') {
    const message = `It has failed for ${since}; its maximum is ${maximum}.${said}`
    findings.push(warning('destination.failing', subject, message, test))
  }
  return findings
}
