/** What a moment of the demo looks like. Pure. */
import { formatAgo, formatCount, formatCountOf } from '../format.ts'
import { cut, renderTable } from '../table.ts'
import type { LogLine } from './log-lines.ts'

export interface Moment {
  readonly phase: 'writing' | 'draining'
  readonly elapsedMs: number
  readonly limitMs: number | undefined
  readonly now: number
  readonly rows: number
  readonly rowsPerSecond: number
  readonly open: number
  readonly rolledBack: number
  readonly destinations: readonly DestinationMoment[]
  readonly naiveLost: number
  readonly log: readonly LogLine[]
}

export interface DestinationMoment {
  readonly name: string
  readonly org: string | null
  readonly written: number
  readonly delivered: number
  readonly behind: number
  /** As in spillway.delivery_state. */
  readonly status: string
  readonly nextAttemptAt: Date | null
  readonly last: { readonly id: string; readonly at: number } | undefined
}

export interface StyledLine {
  readonly text: string
  readonly style: 'title' | 'plain' | 'quiet' | 'good' | 'warning'
}

export const introduction: readonly string[] = [
  'An application writes audit rows of three orgs into PostgreSQL. Some of its',
  'transactions roll back, some stay open and commit late. Spillway delivers the',
  'rows to three HTTP endpoints, one of which goes down now and then.',
]

/** A screenful, no line wider than `width`. */
export function renderScreen(moment: Moment, width: number): StyledLine[] {
  const line = (text: string, style: StyledLine['style'] = 'plain'): StyledLine => ({
    text: cut(text, width),
    style,
  })
  const [heading = '', ...table] = renderTable(columns(moment.now), moment.destinations, width)
  return [
    line(
      `Spillway demo  ${clockOf(moment)}${moment.limitMs === undefined ? '  (Ctrl-C ends it)' : ''}`,
      'title',
    ),
    ...introduction.map((text) => line(text, 'quiet')),
    line(''),
    line(writtenOf(moment)),
    line(''),
    line(heading, 'quiet'),
    ...table.map((text, index) => line(text, styleOf(moment.destinations[index]))),
    line(''),
    line(naiveOf(moment), moment.naiveLost > 0 ? 'warning' : 'plain'),
    line(''),
    ...moment.log.map(({ text, warning }) => line(text, warning ? 'warning' : 'quiet')),
  ]
}

/** The same in one line, for where nothing can be drawn. */
export function renderPlain(moment: Moment): string {
  const each = moment.destinations.map(({ name, delivered, behind, status }) => {
    const trouble = status === 'active' ? '' : `, ${status}`
    return `${name} ${formatCount(delivered)} (${formatCount(behind)} behind${trouble})`
  })
  const written = `${formatCount(moment.rows)} written`
  const naive = `naive reader has lost ${formatCount(moment.naiveLost)}`
  return [clockOf(moment).padEnd(10), written, ...each, naive].join(' | ')
}

const columns = (now: number) => [
  { heading: 'DESTINATION', value: ({ name }: DestinationMoment) => name },
  { heading: 'ORG', value: ({ org }: DestinationMoment) => org ?? '(all)' },
  number('WRITTEN', ({ written }) => written),
  number('DELIVERED', ({ delivered }) => delivered),
  number('BEHIND', ({ behind }) => behind),
  { heading: 'STATUS', value: (each: DestinationMoment) => statusOf(each, now) },
  {
    heading: 'LAST EVENT',
    value: ({ last }: DestinationMoment) =>
      last === undefined ? '' : `${last.id}, ${formatAgo(new Date(last.at), now)}`,
    shrinks: true,
  },
]

function number(heading: string, count: (moment: DestinationMoment) => number) {
  return {
    heading,
    value: (moment: DestinationMoment) => formatCount(count(moment)),
    align: 'right' as const,
  }
}

function statusOf({ status, nextAttemptAt }: DestinationMoment, now: number): string {
  const inMs = nextAttemptAt === null ? 0 : nextAttemptAt.getTime() - now
  return inMs <= 0 ? status : `${status} ${(inMs / 1_000).toFixed(1)} s`
}

function styleOf(destination: DestinationMoment | undefined): StyledLine['style'] {
  return destination?.status === 'active' ? 'good' : 'warning'
}

function clockOf({ phase, elapsedMs, limitMs }: Moment): string {
  if (phase === 'draining') return 'draining'
  const elapsed = `${Math.floor(elapsedMs / 1_000)} s`
  return limitMs === undefined ? elapsed : `${elapsed} of ${Math.floor(limitMs / 1_000)} s`
}

function writtenOf({ rows, rowsPerSecond, open, rolledBack }: Moment): string {
  const parts = [
    `${formatCountOf(rows, 'row')} written and committed`,
    `${formatCount(rowsPerSecond)} rows/s`,
    `${formatCount(open)} transactions open`,
    `${formatCount(rolledBack)} rolled back`,
  ]
  return parts.join(' · ')
}

function naiveOf({ naiveLost }: Moment): string {
  return `a naive reader (WHERE id > cursor) would have lost ${formatCount(naiveLost)}`
}
