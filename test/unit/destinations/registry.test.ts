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
  const answeredAt = clock.monotonic()
  clock.synchronise(5_000_000, answeredAt - 100, answeredAt)
  expect(clock.now()).toBe(5_000_050)
  vi.advanceTimersByTime(700)
  expect(clock.now()).toBe(5_000_750)
})

test('the database clock does not care who sets the local one', () => {
  const clock = new DatabaseClock()
  clock.synchronise(5_000_000, clock.monotonic(), clock.monotonic())
  vi.setSystemTime(1_000_000 + 3_600_000)
  expect(clock.now()).toBe(5_000_000)
})

test('the database clock follows a correction, also backwards, and its durations do not', () => {
  const clock = new DatabaseClock()
  const before = clock.monotonic()
  clock.synchronise(2_000_000, before, before)
  clock.synchronise(500_000, before, before)
  expect(clock.now()).toBe(500_000)
  expect(clock.monotonic()).toBeGreaterThanOrEqual(before)
})
