/** The options of `spillway replay` → what is asked for, or all that is wrong with them. Pure. */
import type { FieldProblem } from '../../../providers/provider.ts'
import { parseInstant } from '../../destinations/destination.ts'
import { ConfigError } from '../../errors.ts'
import { comparePositions, isPosition } from '../../sources/position.ts'

export interface RequestOptions {
  readonly range?: readonly string[]
  readonly since?: string
  readonly until?: string
  readonly deadLetters?: true
  readonly skipped?: string
  readonly logType?: string
}

export interface ReplayRequest {
  readonly destination: string
  readonly kind: 'range' | 'since' | 'dead_letters' | 'skipped'
  readonly logType?: string
  readonly from?: string
  readonly to?: string
  readonly since?: string
  readonly until?: string
  readonly skippedId?: number
  /** Throws `ConfigError` when they are none of the source's. */
  checkPositions(ordering: 'id' | 'xact'): void
}

/** Throws `ConfigError` with every bad option. */
export function parseRequest(destination: string | undefined, options: RequestOptions): ReplayRequest {
  const problems: FieldProblem[] = []
  const { range, since, until, deadLetters, skipped, logType } = options
  if (destination === undefined) {
    problems.push({ field: 'id or name', problem: 'is missing; name the destination' })
  }
  const asked = [range, since, deadLetters, skipped].filter((each) => each !== undefined)
  if (asked.length !== 1) {
    const field = '--range, --since, --dead-letters, --skipped'
    problems.push({
      field,
      problem: asked.length === 0 ? 'are all missing; give one' : 'contradict each other; give one',
    })
  }
  if (until !== undefined && since === undefined) {
    problems.push({ field: '--until', problem: 'is the end of --since; give both' })
  }
  if (logType !== undefined && (range ?? skipped) !== undefined) {
    problems.push({ field: '--log-type', problem: 'is for --since and --dead-letters; leave it out' })
  }
  const times = { since: instant('--since', since, problems), until: instant('--until', until, problems) }
  if (times.since !== undefined && times.until !== undefined && times.until <= times.since) {
    problems.push({ field: '--until', problem: 'does not come after --since' })
  }
  const [rangeType, from, to, ...more] = range ?? []
  if (range && (to === undefined || more.length > 0)) {
    problems.push({ field: '--range', problem: 'takes three values: log type, from, to' })
  }
  if (skipped !== undefined && !/^[1-9]\d{0,14}$/.test(skipped)) {
    problems.push({ field: '--skipped', problem: 'must be the id of a range, a number' })
  }
  if (problems.length > 0) throw new ConfigError(problems)
  const type = rangeType ?? logType
  return {
    destination: destination ?? '',
    kind: range ? 'range' : skipped !== undefined ? 'skipped' : deadLetters ? 'dead_letters' : 'since',
    ...(type !== undefined && { logType: type }),
    ...(from !== undefined && { from }),
    ...(to !== undefined && { to }),
    ...(times.since !== undefined && { since: times.since }),
    ...(times.until !== undefined && { until: times.until }),
    ...(skipped !== undefined && { skippedId: Number(skipped) }),
    checkPositions: (ordering) => checkPositions(from ?? '', to ?? '', ordering),
  }
}

function instant(field: string, text: string | undefined, problems: FieldProblem[]): string | undefined {
  if (text === undefined) return undefined
  const parsed = parseInstant(text)
  if (parsed === undefined) {
    problems.push({ field, problem: 'must be an ISO 8601 instant such as 2026-01-31T00:00:00Z' })
  }
  return parsed
}

const forms = {
  id: 'a number, such as 1200',
  xact: "a transaction, such as 812, or with a key: 812/42, 812/'0b9c…",
}

function checkPositions(from: string, to: string, ordering: 'id' | 'xact'): void {
  const problems = [from, to]
    .filter((position) => !isPosition(position, ordering))
    .map((position): FieldProblem => {
      const problem = `"${position.slice(0, 64)}" is no position of this source; it must be ${forms[ordering]}`
      return { field: '--range', problem }
    })
  if (problems.length === 0 && comparePositions(from, to) >= 0) {
    problems.push({ field: '--range', problem: `is empty: ${to} does not come after ${from}` })
  }
  if (problems.length > 0) throw new ConfigError(problems)
}
