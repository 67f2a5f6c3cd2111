import { describe, expect, test } from 'vitest'
import { formatAgo, formatCount, formatCountOf, formatDuration } from '../../../src/cli/format.ts'

describe('times and numbers', () => {
  test.each([
    [-5, '0 ms'],
    [850.7, '850 ms'],
    [1_000, '1 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_600_000, '1 h'],
    [86_400_000, '1 d'],
    [20 * 86_400_000, '20 d'],
  ])('%d ms are %s', (ms, text) => {
    expect(formatDuration(ms)).toBe(text)
  })

  test('say how long ago something was', () => {
    const now = Date.UTC(2026, 0, 31)
    expect(formatAgo(null, now)).toBe('never')
    expect(formatAgo(new Date(now - 90_000), now)).toBe('1 min ago')
    expect(formatAgo(new Date(now + 2_000), now)).toBe('just now')
  })

  test('group digits and count nouns', () => {
    expect(formatCount(1_234_567)).toBe('1,234,567')
    expect(formatCountOf(1, 'row')).toBe('1 row')
    expect(formatCountOf(2_000, 'row')).toBe('2,000 rows')
  })
})
