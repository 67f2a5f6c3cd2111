import { expect, test } from 'vitest'
import { FirstRows } from '../../../src/sources/first-rows.ts'

test('is not known before the first look', () => {
  expect(new FirstRows(10_000).former).toBeUndefined()
})

test('is what a former run saw last, until this run has looked for long enough', () => {
  const rows = new FirstRows(10_000)
  rows.recalled('5')
  rows.seen('7', 100_000)
  expect(rows.former).toBe('5')
  rows.seen('7', 109_999)
  expect(rows.former).toBe('5')
  rows.seen('8', 110_000)
  expect(rows.former).toBe('7')
})

test('is what the first look saw, where no former run is known', () => {
  const rows = new FirstRows(10_000)
  rows.recalled(undefined)
  rows.seen(null, 0)
  rows.seen('3', 2_000)
  expect(rows.former).toBeNull()
})

test('is never newer than it says, however often the row changes', () => {
  const rows = new FirstRows(10_000)
  for (let at = 0; at <= 60_000; at += 50) rows.seen(`${at}`, at)
  // A sample a second: it may be so much older.
  expect(Number(rows.former)).toBeLessThanOrEqual(50_000)
  expect(Number(rows.former)).toBeGreaterThanOrEqual(49_000)
})
