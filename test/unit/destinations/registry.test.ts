import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { DatabaseClock } from '../../../src/destinations/registry.ts'

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
})
afterEach(() => {
  vi.useRealTimers()
})

test('the database clock is the local one until it was synchronised', () => {
  expect(new DatabaseClock().now()).toBe(1_000_000)
})

test('the database clock goes on from the database’s time, as of the middle of question and answer', () => {
  const clock = new DatabaseClock()
  clock.synchronise(5_000_000, 999_900, 1_000_000)
  expect(clock.now()).toBe(5_000_050)
  vi.setSystemTime(1_000_700)
  expect(clock.now()).toBe(5_000_750)
})

test('the database clock follows a correction, also backwards, and its durations do not', () => {
  const clock = new DatabaseClock()
  const before = clock.monotonic()
  clock.synchronise(2_000_000, 1_000_000, 1_000_000)
  clock.synchronise(500_000, 1_000_000, 1_000_000)
  expect(clock.now()).toBe(500_000)
  expect(clock.monotonic()).toBeGreaterThanOrEqual(before)
})
