/** The figures for people and for programs. Pure. */
import { renderTable } from '../src/cli/table.ts'
import { type Figure, type Goal, type Unit, verdict } from './benchmark.ts'
import type { Machine } from './machine.ts'
import type { Regression } from './regression.ts'

export interface Results {
  readonly takenAt: string
  readonly spillway: string
  readonly machine: Machine
  readonly figures: readonly Figure[]
  /** Benchmarks that did not come to an end. */
  readonly failures: readonly Failure[]
  /** Ratios that are worse than the stored ones. */
  readonly regressions: readonly Regression[]
}

export interface Failure {
  readonly benchmark: string
  readonly message: string
}

/** Every goal is met, and nothing is much worse than it was. */
export function isGood({ figures, failures, regressions }: Results): boolean {
  const isMet = figures.every((figure) => verdict(figure) !== 'missed')
  return isMet && failures.length === 0 && regressions.length === 0
}

export function toJson(results: Results): string {
  const figures = results.figures.map((figure) => ({ ...figure, verdict: verdict(figure) }))
  return `${onOneLine(JSON.stringify({ ...results, figures }, roundLongNumbers, 2))}\n`
}

/** Lists of numbers: the file is committed, and people compare it. No string holds a raw line break. */
function onOneLine(json: string): string {
  return json.replaceAll(/\[\n[^[\]{}]*\]/g, (list) =>
    list.replaceAll(/\s+/g, ' ').replace('[ ', '[').replace(' ]', ']'),
  )
}

export function toTable(results: Results, width: number | undefined): string {
  const { machine, figures, failures, regressions } = results
  const lines = renderTable<Figure>(
    [
      { heading: 'row', value: ({ row }) => row },
      { heading: 'figure', value: ({ value, unit }) => format(value, unit), align: 'right' },
      { heading: 'goal', value: ({ goal, unit }) => formatGoal(goal, unit), align: 'right' },
      { heading: 'verdict', value: verdict },
      { heading: 'behind it', value: ({ note }) => note, shrinks: true },
    ],
    figures,
    width,
  )
  const failed = failures.map(({ benchmark, message }) => `${benchmark} failed: ${message}`)
  const worse = regressions.map(
    ({ row, stored, now, worseBy }) =>
      `${row} is worse by ${Math.round(100 * worseBy)} %: ${now.toFixed(2)}, and ${stored.toFixed(2)} is stored`,
  )
  return `${[...lines, ...failed, ...worse, '', describeMachine(machine)].join('\n')}\n`
}

/** As a table in Markdown. */
export function toMarkdown({ figures, machine }: Pick<Results, 'figures' | 'machine'>): string {
  const rows = figures.map((figure) => {
    const { row, value, unit, goal, note } = figure
    return `| ${row} | ${format(value, unit)} | ${formatGoal(goal, unit)} | ${verdict(figure)} | ${note} |`
  })
  const heading = ['| row | figure | goal | verdict | behind it |', '|---|---:|---:|---|---|']
  return `${[...heading, ...rows, '', `${describeMachine(machine)}.`].join('\n')}\n`
}

function describeMachine({ cores, cpu, memoryGB, node, postgres }: Machine): string {
  return `${cores} cores of ${cpu}, ${memoryGB} GB, Node ${node}, PostgreSQL ${postgres}`
}

function formatGoal(goal: Goal | undefined, unit: Unit): string {
  if (goal === undefined) return '–'
  return 'atLeast' in goal ? `≥ ${format(goal.atLeast, unit)}` : `≤ ${format(goal.atMost, unit)}`
}

function format(value: number, unit: Unit): string {
  switch (unit) {
    case 'ratio':
      return value.toFixed(2)
    case 'queries':
      return value.toFixed(1)
    case 'core':
      return `${value.toFixed(1)} % of a core`
    case 's':
      return `${value.toFixed(1)} s`
    case 'ms':
    case 'MB':
      return `${Math.round(value)} ${unit}`
  }
}

/** Three digits after the point are more than any of the figures repeat. */
function roundLongNumbers(_key: string, value: unknown): unknown {
  return typeof value === 'number' ? Math.round(value * 1000) / 1000 : value
}
