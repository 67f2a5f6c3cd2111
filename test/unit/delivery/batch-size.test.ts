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
      size.accepted(String(limit), limit, 10)
      return size.limit(undefined)
    })
    expect(grown).toEqual([90, 100, 110, 120, 130, 140, 150, 160, 160])
  })

  test('does not grow with batches that are not full', () => {
    const size = new BatchSize(160, [])
    size.tooLarge(160)
    size.accepted('79', 79, 10)
    expect(size.limit(undefined)).toBe(80)
  })

  test('does not grow back to where it would time out again', () => {
    const size = new BatchSize(160, [])
    size.timedOut('160', 160, 30_000)
    // 160 ms an event: a batch of 94 takes half of what is too long.
    for (let batch = 0; batch < 50; batch += 1)
      size.accepted('x', size.limit(undefined), size.limit(undefined) * 160)
    expect(size.limit(undefined)).toBe(90)
    // The endpoint has become fast again.
    for (let batch = 0; batch < 50; batch += 1)
      size.accepted('x', size.limit(undefined), size.limit(undefined))
    expect(size.limit(undefined)).toBe(160)
  })
})
