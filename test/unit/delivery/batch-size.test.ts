import { describe, expect, test } from 'vitest'
import { BatchSize } from '../../../src/delivery/batch-size.ts'

describe('the size of the next batch', () => {
  test('halves with a time-out, but the batch that timed out is tried once more as it is', () => {
    const size = new BatchSize(200, [])
    size.attempted('200')
    size.timedOut('200', 200, 30_000)
    expect(size.limit(undefined)).toBe(100)
    expect(size.limit('200')).toBe(200)
    size.timedOut('200', 200, 30_000)
    expect(size.limit('200')).toBe(50)
  })

  test('holds for batches that are frozen and were never sent', () => {
    const size = new BatchSize(200, [])
    size.attempted('200')
    size.timedOut('200', 200, 30_000)
    expect(size.limit('400')).toBe(100)
  })

  test('leaves batches alone that a former run may have sent', () => {
    const size = new BatchSize(200, ['200', '400'])
    size.timedOut('200', 200, 30_000)
    expect(size.limit('400')).toBe(200)
  })

  test('halves with a 413 and never goes below one event', () => {
    const size = new BatchSize(8, [])
    for (const events of [8, 4, 2, 1, 1]) size.tooLarge(events)
    expect(size.limit(undefined)).toBe(1)
  })

  test('grows back by a sixteenth for each full batch that is accepted, up to what is configured', () => {
    const size = new BatchSize(160, [])
    size.tooLarge(160)
    const grown = Array.from({ length: 9 }, () => {
      const limit = size.limit(undefined)
      size.accepted(limit, 10)
      return size.limit(undefined)
    })
    expect(grown).toEqual([90, 100, 110, 120, 130, 140, 150, 160, 160])
  })

  test('does not grow with batches that are not full', () => {
    const size = new BatchSize(160, [])
    size.tooLarge(160)
    size.accepted(79, 10)
    expect(size.limit(undefined)).toBe(80)
  })

  test('does not grow back to where it would time out again', () => {
    const size = new BatchSize(160, [])
    size.timedOut('160', 160, 30_000)
    // 160 ms an event: a batch of 94 takes half of what is too long.
    for (let batch = 0; batch < 50; batch += 1)
      size.accepted(size.limit(undefined), size.limit(undefined) * 160)
    expect(size.limit(undefined)).toBe(100)
    // The endpoint has become fast again.
    for (let batch = 0; batch < 50; batch += 1) size.accepted(size.limit(undefined), size.limit(undefined))
    expect(size.limit(undefined)).toBe(160)
  })

  test.each([1_000, 5_000, 12_000])(
    'grows back from one event where each request takes %i ms, whatever is in it',
    (requestMs) => {
      const size = new BatchSize(250, [])
      for (let failure = 0; failure < 10; failure += 1)
        size.timedOut(String(failure), size.limit(undefined), 30_000)
      expect(size.limit(undefined)).toBe(1)
      for (let batch = 0; batch < 30; batch += 1) size.accepted(size.limit(undefined), requestMs)
      expect(size.limit(undefined)).toBe(250)
    },
  )

  test('never grows to where a batch would time out whose time goes with its events', () => {
    for (let eventMs = 20; eventMs < 30_000; eventMs += 97) {
      const size = new BatchSize(250, [])
      for (let failure = 0; failure < 10; failure += 1)
        size.timedOut(String(failure), size.limit(undefined), 30_000)
      for (let batch = 0; batch < 60; batch += 1) {
        const limit = size.limit(undefined)
        expect(limit * eventMs).toBeLessThanOrEqual(30_000)
        size.accepted(limit, limit * eventMs)
      }
    }
  })

  test('leaves a batch alone that was accepted ahead of one that times out, until the cursor has passed it', () => {
    const size = new BatchSize(200, [])
    size.attempted('200')
    size.attempted('400')
    size.accepted(200, 100)
    size.timedOut('200', 200, 30_000)
    size.settled(['200', '400'])
    expect(size.limit('400')).toBe(200)
    size.settled([])
    expect(size.limit('400')).toBe(100)
  })
})
