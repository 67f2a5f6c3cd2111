/** The figures for people and for programs. Pure. */
import { renderTable } from '../src/cli/table.ts'
import { type Figure, type Goal, type Unit, verdict } from './benchmark.ts'
import type { Machine } from './machine.ts'

export interface Results {
  readonly takenAt: string
  readonly spillway: string
  readonly machine: Machine
  readonly figures: readonly Figure[]
  /** Benchmarks that did not come to an end. */
  readonly failures: readonly Failure[]
}

export interface Failure {
  readonly benchmark: string
  readonly message: string
}

export function allMet({ figures, failures }: Results): boolean {
  return failures.length === 0 && figures.every((figure) => verdict(figure) !== 'missed')
}

export function toJson(results: Results): string {
  const figures = results.figures.map((figure) => ({ ...figure, verdict: verdict(figure) }))
  return `${onOneLine(JSON.stringify({ ...results, figures }, roundLongNumbers, 2))}\n`
}

/** Lists of numbers, as the formatter wants them: the file is committed. No string holds a raw line break. */
function onOneLine(json: string): string {
  return json.replaceAll(/\[\n[^[\]{}]*\]/g, (list) =>
    list.replaceAll(/\s+/g, ' ').replace('[ ', '[').replace(' ]', ']'),
  )
}

export function toTable(results: Results, width: number | undefined): string {
  const { machine, figures, failures } = results
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
  const on = `${machine.cores} cores of ${machine.cpu}, ${machine.memoryGB} GB, Node ${machine.node}, PostgreSQL ${machine.postgres}`
  return `${[...lines, ...failed, '', on].join('\n')}\n`
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
