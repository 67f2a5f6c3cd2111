import fc from 'fast-check'
import { expect, test } from 'vitest'
import { backoffMs } from '../../../src/delivery/backoff.ts'
import { runs } from './items.ts'

const policy = { scheduleMs: [60_000, 120_000, 300_000, 600_000, 1_800_000] }

test('follows the schedule and then stays at its last pause', () => {
  const pauses = [1, 2, 3, 4, 5, 6, 100].map((failures) => backoffMs(failures, policy, 0, undefined))
  expect(pauses).toEqual([60_000, 120_000, 300_000, 600_000, 1_800_000, 1_800_000, 1_800_000])
})

test('treats a failure count of zero, as after an edit, like the first failure', () => {
  expect(backoffMs(0, policy, 0, undefined)).toBe(60_000)
})

test('takes what the endpoint asked for as a floor', () => {
  expect(backoffMs(1, policy, 0, 90_000)).toBe(90_000)
  expect(backoffMs(1, policy, 0, 5_000)).toBe(60_000)
})

test('is never shorter than promised and never longer by more than a tenth', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.array(fc.integer({ min: 1, max: 10_000_000 }), { minLength: 1, maxLength: 8 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      fc.option(fc.nat(10_000_000), { nil: undefined }),
      (failures, scheduleMs, random, retryAfterMs) => {
        const scheduled = scheduleMs[Math.min(failures, scheduleMs.length) - 1] ?? 0
        const floor = Math.max(scheduled, retryAfterMs ?? 0)
        const pause = backoffMs(failures, { scheduleMs }, random, retryAfterMs)
        expect(pause).toBeGreaterThanOrEqual(floor)
        expect(pause).toBeLessThanOrEqual(Math.round(floor * 1.1))
        expect(Number.isInteger(pause)).toBe(true)
      },
    ),
    runs,
  )
})
