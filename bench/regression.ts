/**
 * Ratios against stored ones of an earlier run. Only ratios and counts can be compared: both sides of a ratio were
 * measured on one machine at one time, so it says much the same on another. Pure.
 */
import type { Figure } from './benchmark.ts'

export interface Regression {
  readonly row: string
  readonly stored: number
  readonly now: number
  /** By how much it is worse: 0.2 is a fifth. */
  readonly worseBy: number
}

/** A figure may be worse than the stored one by this: ratios of a busy machine stray by a tenth. */
const tolerance = 0.15

const comparable: ReadonlySet<Figure['unit']> = new Set(['ratio', 'queries'])

/** Those that are worse by more than the tolerance. Rows that are not stored are new, and compared from the next time on. */
export function findRegressions(figures: readonly Figure[], stored: readonly StoredFigure[]): Regression[] {
  const before = new Map(stored.map(({ row, value }) => [row, value]))
  return figures.flatMap(({ row, value: now, unit, goal }) => {
    const was = before.get(row)
    if (goal === undefined || was === undefined || !comparable.has(unit)) return []
    const worseBy = 'atLeast' in goal ? 1 - now / was : now / was - 1
    return worseBy > tolerance ? [{ row, stored: was, now, worseBy }] : []
  })
}

export type StoredFigure = Pick<Figure, 'row' | 'value'>
