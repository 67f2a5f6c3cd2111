import fc from 'fast-check'
import { expect, test } from 'vitest'
import { fairShare, type Holding, shardCount } from '../../../src/cluster/share.ts'

const holdingsOf = (shards: readonly number[]): Holding[] =>
  shards.map((count, index) => ({ replica: `replica-${index}`, shards: count }))

const sharesOf = (shards: readonly number[]) =>
  holdingsOf(shards).map(({ replica }) => fairShare(replica, holdingsOf(shards)))

test.each([
  { held: [0], shares: [64] },
  { held: [64, 0], shares: [32, 32] },
  { held: [32, 32, 0], shares: [22, 21, 21] },
  { held: [21, 22, 21], shares: [21, 22, 21] },
  { held: [22, 21, 0], shares: [22, 21, 21] },
  // One of two that give to a third has given already: it does not give once more.
  { held: [22, 32, 10], shares: [22, 21, 21] },
  { held: [32, 21, 11], shares: [22, 21, 21] },
  { held: Array(64).fill(1), shares: Array(64).fill(1) },
])('of $held held, the shares are $shares', ({ held, shares }) => {
  expect(sharesOf(held)).toEqual(shares)
})

test('with more replicas than shards some get none, and whoever holds one keeps it', () => {
  const held = Array.from({ length: 70 }, (_, index) => (index >= 6 ? 1 : 0))
  expect(sharesOf(held)).toEqual(held)
})

test('the shares are all shards, however they are held, and differ by one at most', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 64 }), { minLength: 1, maxLength: 100 }), (held) => {
      const shares = sharesOf(held)
      expect(shares.reduce((sum, share) => sum + share, 0)).toBe(shardCount)
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1)
    }),
  )
})

test('no shard moves between replicas that share evenly already', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 80 }), fc.integer({ min: 0, max: 79 }), (replicas, turn) => {
      const least = Math.floor(shardCount / replicas)
      const more = shardCount % replicas
      // Whichever of them have the one more.
      const held = Array.from(
        { length: replicas },
        (_, index) => least + ((index + turn) % replicas < more ? 1 : 0),
      )
      expect(sharesOf(held)).toEqual(held)
    }),
  )
})
