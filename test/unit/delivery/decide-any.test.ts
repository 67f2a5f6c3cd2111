import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Outcome } from '../../../providers/provider.ts'
import { decide, type Health, healthy } from '../../../src/delivery/decide.ts'
import { runs } from './items.ts'
import { dayMs, gone, hold, now, partial, policy, rejected, retry, unauthorized } from './outcomes.ts'

describe('for any state and answer', () => {
  const anyHealth: fc.Arbitrary<Health> = fc.oneof(
    fc.constant(healthy),
    fc.record({
      status: fc.constantFrom('active' as const, 'backing_off' as const, 'unauthorized' as const),
      consecutiveFailures: fc.nat(100),
      firstFailedAt: fc.integer({ min: now - 2 * dayMs, max: now }),
      nextAttemptAt: fc.constantFrom(undefined, now),
      lastErrorAt: fc.constantFrom(undefined, now - 1),
    }),
  )
  const size = 6
  const anyRefusal = fc.constantFrom(rejected, rejected, rejected, retry, unauthorized, gone)
  const anyOutcome: fc.Arbitrary<Outcome> = fc.oneof(
    fc.constantFrom<Outcome>({ kind: 'accepted' }, rejected, retry, unauthorized, gone),
    fc
      .uniqueArray(fc.nat(size - 1), { minLength: 1, maxLength: size })
      .chain((indexes) =>
        fc.tuple(
          ...indexes
            .toSorted((a, b) => a - b)
            .map((index) => fc.record({ index: fc.constant(index), outcome: anyRefusal })),
        ),
      )
      .map((refused) => partial(...refused)),
  )
  const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
  const anyPolicy = fc.constantFrom(policy, hold)

  test('the cursor never passes an event that was neither accepted nor refused for good', () => {
    fc.assert(
      fc.property(anyHealth, anyOutcome, anyPolicy, random, (health, outcome, rules, dice) => {
        const { effects } = decide(health, outcome, size, rules, now, dice)
        const settles = effects.filter((effect) => effect.kind === 'settle')
        const refusals = new Map<number, Outcome['kind']>(
          outcome.kind === 'partial'
            ? outcome.refused.map((refusal) => [refusal.index, refusal.outcome.kind])
            : Array.from({ length: size }, (_, index) => [index, outcome.kind]),
        )
        expect(settles.length).toBeLessThanOrEqual(1)
        for (const { count, refused } of settles) {
          const dead = new Set(refused.map(({ index }) => index))
          for (let index = 0; index < count; index += 1) {
            const fate = refusals.get(index) ?? 'accepted'
            expect([index, fate]).toEqual([index, dead.has(index) ? 'rejected' : 'accepted'])
          }
          expect(refused.every(({ index }) => index < count)).toBe(true)
          expect(refused.length).toBeLessThan(count)
        }
      }),
      { ...runs, numRuns: 2_000 },
    )
  })

  test('what is not settled whole is tried again, at a time that is set, or its destination disabled', () => {
    fc.assert(
      fc.property(anyHealth, anyOutcome, anyPolicy, random, (health, outcome, rules, dice) => {
        const decision = decide(health, outcome, size, rules, now, dice)
        const whole = decision.effects.some((effect) => effect.kind === 'settle' && effect.count === size)
        const kinds = decision.effects.map(({ kind }) => kind)
        expect(kinds.includes('failed')).toBe(!whole)
        expect(kinds.includes('back_off') || kinds.includes('disable')).toBe(!whole)
        expect(decision.health.status === 'active').toBe(whole)
        if (whole) expect(decision.health).toEqual(healthy)
        if (!kinds.includes('back_off')) return
        const { nextAttemptAt, consecutiveFailures } = decision.health
        const scheduled = rules.scheduleMs[Math.min(consecutiveFailures, 2) - 1] ?? 0
        expect(nextAttemptAt).toBeGreaterThanOrEqual(now + scheduled)
        expect(nextAttemptAt).toBeLessThanOrEqual(now + scheduled * 1.1)
      }),
      { ...runs, numRuns: 2_000 },
    )
  })
})
