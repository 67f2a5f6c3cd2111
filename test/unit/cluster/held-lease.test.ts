import { describe, expect, test } from 'vitest'
import { describeShards, HeldLease } from '../../../src/cluster/held-lease.ts'

function heldUntil(until: number) {
  const clock = { now: 0 }
  const lease = new HeldLease({ shard: 3, owner: 'me', epoch: '7' }, until, () => clock.now)
  return { clock, lease }
}

describe('a lease is held', () => {
  test('until the trust in it ends', () => {
    const { clock, lease } = heldUntil(100)
    clock.now = 99
    expect(lease.isHeld).toBe(true)
    clock.now = 100
    expect(lease.isHeld).toBe(false)
  })

  test('longer when it was renewed', () => {
    const { clock, lease } = heldUntil(100)
    clock.now = 50
    lease.renewed(150)
    clock.now = 149
    expect(lease.isHeld).toBe(true)
  })

  test('not again when the renewal is heard of too late', () => {
    const { clock, lease } = heldUntil(100)
    clock.now = 100
    lease.renewed(200)
    expect(lease.isHeld).toBe(false)
  })

  test('while it is being left, and not after it has ended', () => {
    const { lease } = heldUntil(100)
    lease.leave()
    expect(lease).toMatchObject({ isHeld: true, isServing: false })
    lease.end()
    expect(lease.isHeld).toBe(false)
    lease.leave()
    expect(lease.hasEnded).toBe(true)
  })
})

test.each([
  [[], ''],
  [[5], '5'],
  [[2, 0, 1, 9, 63, 62], '0-2, 9, 62-63'],
])('shards %j are told of as "%s"', (shards, text) => {
  expect(describeShards(shards)).toBe(text)
})
