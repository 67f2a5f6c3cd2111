import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  comparePositions,
  isPosition,
  laterOf,
  origin,
  parseXactPosition,
  placeBefore,
  xactPosition,
} from '../../../src/sources/position.ts'

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

const xact = fc.bigInt({ min: 3n, max: 2n ** 64n - 1n })
const key = fc.string({ unit: 'binary', maxLength: 8 })

test('positions of transactions are ordered by transaction first, then by key', () => {
  fc.assert(
    fc.property(xact, xact, key, key, (a, b, one, other) => {
      const [first, second] = [xactPosition(String(a), one, false), xactPosition(String(b), other, false)]
      const keys = Buffer.compare(Buffer.from(`${one}`), Buffer.from(`${other}`))
      const expected = a < b ? -1 : a > b ? 1 : keys
      expect(Math.sign(comparePositions(first, second))).toBe(expected)
      expect(parseXactPosition(first)).toEqual({ xact: String(a), key: one })
      // Before all rows of its transaction, and beyond all of earlier ones.
      expect(comparePositions(String(a), first)).toBeLessThan(0)
      expect(comparePositions(placeBefore(first), first)).toBeLessThan(0)
      expect(laterOf(String(a + 1n), first)).toBe(String(a + 1n))
    }),
    { seed: 3, numRuns: 1_000 },
  )
})

test('keys that are numbers are ordered as numbers, also below zero', () => {
  const keys = ['-12', '-2', '0', '9', '10', '9223372036854775807']
  const positions = keys.map((number) => xactPosition('812', number, true))
  expect([...positions].reverse().sort(comparePositions)).toEqual(positions)
  expect(parseXactPosition(positions[0] ?? '')).toEqual({ xact: '812', key: '-12' })
})

test('the place before an id is one less', () => {
  expect(placeBefore('42')).toBe('41')
  expect(placeBefore('-42')).toBe('-43')
})

test('what is written by hand is told from what is no position of the order', () => {
  const positions = (ordering: 'id' | 'xact', texts: string[]) =>
    texts.filter((text) => isPosition(text, ordering))
  expect(positions('id', ['0', '42', '-7', '', '4.2', '42/1', 'x', ' 42', '1'.repeat(20)])).toEqual([
    '0',
    '42',
    '-7',
  ])
  const xacts = [
    '812',
    '812/42',
    '812/-42',
    "812/'0b9c",
    "812/'",
    "812/'a/b\n",
    '',
    '812/',
    '812/0b9c',
    '-1',
    "x/'a",
  ]
  expect(positions('xact', xacts)).toEqual(xacts.slice(0, 6))
})
