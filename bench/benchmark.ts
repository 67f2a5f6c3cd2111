/**
 * A benchmark measures one thing on a stage (stage/stage.ts) and returns figures. Each figure may have a
 * goal; the run is good when every goal is met. A new one is a file here and a line in benchmarks.ts.
 */
import type { Stage } from './stage/stage.ts'

export interface Benchmark {
  /** What is asked for on the command line. */
  readonly name: string
  /** One line for people. */
  readonly what: string
  run(stage: Stage, report: Report): Promise<readonly Figure[]>
}

/** Tells of progress, for whoever waits. */
export type Report = (text: string) => void

export interface Figure {
  /** A row of the table. */
  readonly row: string
  readonly value: number
  readonly unit: Unit
  readonly goal?: Goal
  /** What stands behind the value, in a few words. */
  readonly note: string
  /** What it was computed from. */
  readonly measured: Readonly<Record<string, number | readonly number[]>>
}

/** `core`: percent of one core. */
export type Unit = 'ratio' | 'ms' | 's' | 'MB' | 'core' | 'queries'

export type Goal = { readonly atLeast: number } | { readonly atMost: number }

export type Verdict = 'met' | 'missed' | 'no goal'

export function verdict({ value, goal }: Figure): Verdict {
  if (goal === undefined) return 'no goal'
  const met = 'atLeast' in goal ? value >= goal.atLeast : value <= goal.atMost
  return met ? 'met' : 'missed'
}
