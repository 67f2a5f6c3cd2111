import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decide, type Health, healthy, type Verdict } from '../../../src/delivery/decide.ts'
import { runs } from './items.ts'
import { dayMs, gone, hold, now, policy, rejected, retry, unauthorized } from './outcomes.ts'

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
const anyVerdict = fc.constantFrom<Verdict>({ kind: 'accepted' }, rejected, retry, unauthorized, gone)
const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const anyPolicy = fc.constantFrom(policy, hold)

test('in any state a failure is tried again at a time that is set, or its destination disabled', () => {
  fc.assert(
    fc.property(anyHealth, anyVerdict, anyPolicy, random, (health, verdict, rules, dice) => {
      const decision = decide(health, verdict, rules, now, dice)
      const isWell = verdict.kind === 'accepted'
      const kinds = decision.effects.map(({ kind }) => kind)
      expect(kinds.includes('failed')).toBe(!isWell)
      expect(kinds.includes('back_off') || kinds.includes('disable')).toBe(!isWell)
      expect(decision.health.status === 'active').toBe(isWell)
      if (isWell) expect(decision.health).toEqual(healthy)
      if (!kinds.includes('back_off')) return
      const { nextAttemptAt, consecutiveFailures } = decision.health
      const scheduled = rules.scheduleMs[Math.min(consecutiveFailures, 2) - 1] ?? 0
      expect(nextAttemptAt).toBeGreaterThanOrEqual(now + scheduled)
      expect(nextAttemptAt).toBeLessThanOrEqual(now + scheduled * 1.1)
    }),
    { ...runs, numRuns: 2_000 },
  )
})
