import { describe, expect, test } from 'vitest'
import { Pace } from '../../../src/sources/pace.ts'

/** A pace after its first look, which took a fence at 0 and `lookMs`. */
function started({ pollMs = 1_000, lookMs = 0, moved = false } = {}): Pace {
  const pace = new Pace(pollMs, 0)
  expect(pace.waitMs(0, false)).toBe(0)
  expect(pace.begin(0)).toBe(true)
  pace.end(lookMs, true, moved)
  return pace
}

describe('the pace of a watcher', () => {
  test('is a fence every poll interval, counted from the end of the look', () => {
    const pace = started({ lookMs: 40 })
    expect(pace.waitMs(40, false)).toBe(1_000)
    expect(pace.waitMs(1_039, false)).toBe(1)
    expect(pace.begin(1_040)).toBe(true)
  })

  test('is quick and then slower while rows wait, without new fences', () => {
    const pace = started()
    const waits: number[] = []
    for (let now = 0; now < 900; ) {
      const wait = pace.waitMs(now, true)
      waits.push(wait)
      now += wait
      if (now >= 1_000) break
      expect(pace.begin(now)).toBe(false)
      pace.end(now, false, false)
    }
    expect(waits.slice(0, 7)).toEqual([5, 10, 20, 40, 80, 160, 250])
    expect(Math.max(...waits)).toBe(250)
  })

  test('is quick again when the horizon has moved', () => {
    const pace = started()
    pace.begin(5)
    pace.end(5, false, false)
    expect(pace.waitMs(5, true)).toBe(10)
    pace.begin(15)
    pace.end(15, false, true)
    expect(pace.waitMs(15, true)).toBe(5)
  })
})

describe('a hint', () => {
  test('brings a look with a fence forward', () => {
    const pace = started()
    pace.hint()
    expect(pace.waitMs(300, false)).toBe(0)
    expect(pace.begin(300)).toBe(true)
    pace.end(301, true, true)
    expect(pace.waitMs(301, false)).toBe(1_000)
  })

  test('before the first look changes nothing', () => {
    const pace = new Pace(1_000, 0)
    pace.hint()
    expect(pace.waitMs(0, false)).toBe(0)
    expect(pace.begin(0)).toBe(true)
  })

  test('that comes while a look is under way causes one more after it, however many come', () => {
    const pace = started()
    pace.hint()
    expect(pace.begin(300)).toBe(true)
    for (let hints = 0; hints < 1_000; hints += 1) pace.hint()
    pace.end(301, true, false)
    expect(pace.waitMs(301, false)).toBe(5)
    expect(pace.begin(306)).toBe(true)
    pace.end(307, true, false)
    expect(pace.waitMs(307, false)).toBe(1_000)
  })

  test('waits after a slow look, so that at most a quarter of the time is spent looking', () => {
    const pace = started()
    pace.begin(100)
    pace.hint()
    pace.end(140, true, false)
    expect(pace.waitMs(140, false)).toBe(120)
  })

  test('is kept for later by a look at pending fences', () => {
    const pace = started({ lookMs: 100 })
    pace.hint()
    // Its pause is 300 ms; rows wait behind a fence.
    expect(pace.waitMs(100, true)).toBe(5)
    expect(pace.begin(105)).toBe(false)
    pace.end(106, false, false)
    expect(pace.waitMs(106, false)).toBe(5)
    expect(pace.begin(111)).toBe(true)
  })

  test('in an endless flood never delays the fence of the poll interval', () => {
    const pace = started({ pollMs: 50, lookMs: 100 })
    pace.hint()
    expect(pace.waitMs(100, false)).toBe(50)
    expect(pace.begin(150)).toBe(true)
  })
})
