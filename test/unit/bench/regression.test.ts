import { expect, test } from 'vitest'
import type { Figure } from '../../../bench/benchmark.ts'
import { findRegressions } from '../../../bench/regression.ts'
import { isGood, type Results, toMarkdown, toTable } from '../../../bench/report.ts'

const figure = (row: string, value: number, changes: Partial<Figure> = {}): Figure => ({
  row,
  value,
  unit: 'ratio',
  goal: { atLeast: 0.85 },
  note: 'of a test',
  measured: {},
  ...changes,
})

const most: Partial<Figure> = { goal: { atMost: 1.5 } }

test('a ratio may be worse than the stored one by 15 percent, and not by more', () => {
  const stored = [figure('up', 1), figure('down', 1, most)]
  expect(findRegressions([figure('up', 0.86), figure('down', 1.14, most)], stored)).toEqual([])
  const worse = findRegressions([figure('up', 0.84), figure('down', 1.16, most)], stored)
  expect(worse.map(({ row, worseBy }) => [row, Math.round(worseBy * 100)])).toEqual([
    ['up', 16],
    ['down', 16],
  ])
})

test('what is better, new, without a goal or of this machine only is not compared', () => {
  const stored = [figure('better', 1), figure('ms', 1), figure('free', 1), figure('less', 1)]
  const { goal: _, ...free } = figure('free', 0.1)
  const now = [
    figure('better', 2),
    figure('new', 0.1),
    figure('ms', 100, { unit: 'ms', ...most }),
    free,
    figure('less', 0.1, most),
  ]
  expect(findRegressions(now, stored)).toEqual([])
})

const results = (figures: readonly Figure[], changes: Partial<Results> = {}): Results => ({
  takenAt: '2026-01-01T00:00:00.000Z',
  spillway: '0.1.0',
  machine: {
    cpu: 'Test',
    cores: 2,
    memoryGB: 8,
    system: 'test',
    node: 'v24.0.0',
    postgres: '18.4',
    loadAverage: 0,
  },
  figures,
  failures: [],
  regressions: [],
  ...changes,
})

test('a run is good when goals are met, nothing has failed and nothing is much worse', () => {
  expect(isGood(results([figure('a', 0.9)]))).toBe(true)
  expect(isGood(results([figure('a', 0.8)]))).toBe(false)
  expect(isGood(results([], { failures: [{ benchmark: 'a', message: 'broken' }] }))).toBe(false)
  const regressions = [{ row: 'a', stored: 1, now: 0.5, worseBy: 0.5 }]
  expect(isGood(results([], { regressions }))).toBe(false)
  expect(toTable(results([], { regressions }), undefined)).toContain(
    'a is worse by 50 %: 0.50, and 1.00 is stored',
  )
})

test('each unit is written as people read it', () => {
  const figures = [
    figure('ratio', 0.987),
    figure('time', 1234.5, { unit: 'ms', goal: { atMost: 3_000 } }),
    figure('core', 2.34, { unit: 'core', goal: { atMost: 3 } }),
    figure('queries', 1.56, { unit: 'queries', goal: { atMost: 2 } }),
    figure('start', 3.21, { unit: 's', goal: { atMost: 5 } }),
  ]
  const lines = toMarkdown(results(figures)).split('\n')
  expect(lines.slice(2, 7)).toEqual([
    '| ratio | 0.99 | ≥ 0.85 | met | of a test |',
    '| time | 1235 ms | ≤ 3000 ms | met | of a test |',
    '| core | 2.3 % of a core | ≤ 3.0 % of a core | met | of a test |',
    '| queries | 1.6 | ≤ 2.0 | met | of a test |',
    '| start | 3.2 s | ≤ 5.0 s | met | of a test |',
  ])
})
