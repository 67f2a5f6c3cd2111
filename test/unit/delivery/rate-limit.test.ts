import { describe, expect, test } from 'vitest'
import { RateLimit, smoothBatchSize } from '../../../src/delivery/rate-limit.ts'

const none = { maxEventsPerSecond: undefined, maxRequestsPerMinute: undefined }

function limited(limits: Partial<typeof none | Record<keyof typeof none, number>>) {
  const clock = { at: 1_000, monotonic: () => clock.at }
  return { clock, rate: new RateLimit({ ...none, ...limits }, clock) }
}

describe('a rate', () => {
  test('without limits makes nobody wait', () => {
    const { rate } = limited({})
    rate.take(1_000_000)
    expect(rate.waitMs).toBe(0)
  })

  test('spreads events over time', () => {
    const { rate, clock } = limited({ maxEventsPerSecond: 50 })
    rate.take(25)
    expect(rate.waitMs).toBe(500)
    clock.at += 500
    expect(rate.waitMs).toBe(0)
  })

  test('spreads requests over time, whatever is in them; the slower limit holds', () => {
    const { rate } = limited({ maxEventsPerSecond: 1_000, maxRequestsPerMinute: 30 })
    rate.take(10)
    expect(rate.waitMs).toBe(2_000)
  })

  test('saves up nothing while nothing is sent, and lets nobody overtake', () => {
    const { rate, clock } = limited({ maxRequestsPerMinute: 60 })
    clock.at += 3_600_000
    const [first, second] = [rate.take(1), rate.take(1)]
    expect([first, second]).toEqual([clock.at, clock.at + 1_000])
    expect(rate.waitMs).toBe(2_000)
  })

  test('is waited for, unless the wait is broken off', async () => {
    const { rate } = limited({ maxRequestsPerMinute: 1 })
    await rate.pass(1, new AbortController().signal)
    const abort = new AbortController()
    const waiting = rate.pass(1, abort.signal)
    abort.abort(new Error('stopped'))
    await expect(waiting).rejects.toThrow('stopped')
  })
})

test('a batch is at most what may go out in a second; where each event is a request, one event', () => {
  expect(smoothBatchSize(250, none, false)).toBe(250)
  expect(smoothBatchSize(250, none, true)).toBe(250)
  expect(smoothBatchSize(250, { ...none, maxEventsPerSecond: 10 }, false)).toBe(10)
  expect(smoothBatchSize(5, { ...none, maxEventsPerSecond: 10 }, false)).toBe(5)
  expect(smoothBatchSize(250, { ...none, maxRequestsPerMinute: 10 }, false)).toBe(250)
  expect(smoothBatchSize(250, { ...none, maxRequestsPerMinute: 10 }, true)).toBe(1)
})
