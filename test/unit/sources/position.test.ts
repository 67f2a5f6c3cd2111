import fc from 'fast-check'
import { expect, test } from 'vitest'
import { comparePositions, origin } from '../../../src/sources/position.ts'

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const nearby = int64.chain((base) =>
  fc.bigInt({ min: -3n, max: 3n }).map((step) => [base, base + step] as const),
)

test('positions are ordered as the numbers they are, all the way to the limits of bigint', () => {
  fc.assert(
    fc.property(fc.oneof(fc.tuple(int64, int64), nearby), ([a, b]) => {
      const expected = a < b ? -1 : a > b ? 1 : 0
      expect(Math.sign(comparePositions(String(a), String(b)))).toBe(expected)
      expect(Math.sign(comparePositions(String(b), String(a)))).toBe(expected === 0 ? 0 : -expected)
    }),
    { seed: 3, numRuns: 2_000, examples: [[[9n, 10n]], [[-9n, -10n]], [[-1n, 0n]], [[99n, 100n]]] },
  )
})

test('the origin lies before the first id of a sequence and beyond any below zero', () => {
  expect(comparePositions(origin, '1')).toBeLessThan(0)
  expect(comparePositions(origin, '-1')).toBeGreaterThan(0)
})
