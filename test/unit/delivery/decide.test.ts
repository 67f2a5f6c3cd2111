import { describe, expect, test } from 'vitest'
import { decide, type Effect, type Health, healthy, type Verdict } from '../../../src/delivery/decide.ts'
import { dayMs, gone, hold, now, policy, rejected, retry, unauthorized } from './outcomes.ts'

const outcomes: Record<Verdict['kind'], Verdict> = {
  accepted: { kind: 'accepted' },
  rejected,
  retry,
  unauthorized,
  gone,
}

const failing = { consecutiveFailures: 3, firstFailedAt: now - 600_000, lastErrorAt: now - 60_000 }
const states: Record<Health['status'], Health> = {
  active: healthy,
  backing_off: { ...failing, status: 'backing_off', nextAttemptAt: now },
  unauthorized: { ...failing, status: 'unauthorized', nextAttemptAt: now },
  disabled: { ...failing, status: 'disabled', nextAttemptAt: undefined },
}

interface Expected {
  readonly status: Health['status']
  readonly effects: readonly Effect['kind'][]
  readonly failures: number
}
const delivered: Expected = { status: 'active', effects: [], failures: 0 }
const recovered: Expected = { status: 'active', effects: ['recovered'], failures: 0 }
const failed = (status: Health['status'], failures: number): Expected => ({
  status,
  effects: ['failed', 'back_off'],
  failures,
})
const ended = (failures: number): Expected => ({
  status: 'disabled',
  effects: ['failed', 'disable'],
  failures,
})
const whileFailing: Record<Verdict['kind'], Expected> = {
  accepted: recovered,
  rejected: failed('backing_off', 4),
  retry: failed('backing_off', 4),
  unauthorized: failed('unauthorized', 4),
  gone: ended(3),
}

/** Total by its type: a status or a verdict without a line here does not compile. */
const table: Record<Health['status'], Record<Verdict['kind'], Expected>> = {
  active: {
    accepted: delivered,
    rejected: failed('backing_off', 1),
    retry: failed('backing_off', 1),
    unauthorized: failed('unauthorized', 1),
    gone: ended(0),
  },
  backing_off: whileFailing,
  unauthorized: whileFailing,
  // A batch on its way when the destination was disabled still lands.
  disabled: whileFailing,
}

const cases = Object.entries(table).flatMap(([status, row]) =>
  Object.entries(row).map(([kind, expected]) => ({ status, kind, expected })),
)

test.each(cases)('$status and $kind become $expected.status', ({ status, kind, expected }) => {
  // Object.entries forgets the keys' types.
  const health = states[status as Health['status']]
  const outcome = outcomes[kind as Verdict['kind']]
  const decision = decide(health, outcome, policy, now, 0)
  expect(decision.health).toMatchObject({
    status: expected.status,
    consecutiveFailures: expected.failures,
  })
  expect(decision.effects.map((effect) => effect.kind)).toEqual(expected.effects)
})

describe('a failure', () => {
  test('is counted from the first one on and pauses by the schedule', () => {
    const first = decide(healthy, retry, policy, now, 0)
    expect(first.health).toEqual({
      status: 'backing_off',
      consecutiveFailures: 1,
      firstFailedAt: now,
      nextAttemptAt: now + 60_000,
      lastErrorAt: now,
    })
    const second = decide(first.health, retry, policy, now + 60_000, 0)
    expect(second.health).toMatchObject({
      consecutiveFailures: 2,
      firstFailedAt: now,
      nextAttemptAt: now + 180_000,
    })
  })

  test('pauses at least as long as the receiver asked', () => {
    const asked = decide(healthy, { ...retry, retryAfterMs: 300_000 }, policy, now, 0)
    expect(asked.effects).toContainEqual({ kind: 'back_off', delayMs: 300_000, nextAttemptAt: now + 300_000 })
  })

  test('starts the schedule anew after an edit, and keeps the time since which it fails', () => {
    // What the database makes of an edit: no failures counted, no pause, but the first failure's time.
    const edited: Health = { ...healthy, firstFailedAt: now - 5_000, lastErrorAt: now - 1_000 }
    expect(decide(edited, retry, policy, now, 0).health).toMatchObject({
      consecutiveFailures: 1,
      firstFailedAt: now - 5_000,
      nextAttemptAt: now + 60_000,
    })
  })

  test('ends with an accepted batch, which says how long it was', () => {
    const { health, effects } = decide(states.backing_off, { kind: 'accepted' }, policy, now, 0)
    expect(health).toEqual(healthy)
    expect(effects).toEqual([{ kind: 'recovered', failures: 3, failingForMs: 600_000 }])
  })
})

describe('a backlog past its age', () => {
  const since = (ageMs: number, lastErrorAgoMs = 1_800_000): Health => ({
    status: 'backing_off',
    consecutiveFailures: 50,
    firstFailedAt: now - ageMs,
    nextAttemptAt: now,
    lastErrorAt: now - lastErrorAgoMs,
  })

  test('is abandoned at exactly that age and not a millisecond before', () => {
    const kinds = (ageMs: number) =>
      decide(since(ageMs), retry, policy, now, 0).effects.map(({ kind }) => kind)
    expect(kinds(dayMs - 1)).toEqual(['failed', 'back_off'])
    expect(kinds(dayMs)).toEqual(['failed', 'back_off', 'abandon'])
  })

  test('gives what comes after it a time of its own', () => {
    const { health } = decide(since(dayMs), retry, policy, now, 0)
    expect(health).toMatchObject({ firstFailedAt: now, consecutiveFailures: 51 })
  })

  test('is abandoned for refused credentials too, but never while a batch is accepted', () => {
    expect(decide(since(dayMs), unauthorized, policy, now, 0).effects).toContainEqual({
      kind: 'abandon',
      failingForMs: dayMs,
    })
    expect(decide(since(dayMs), { kind: 'accepted' }, policy, now, 0).effects).not.toContainEqual(
      expect.objectContaining({ kind: 'abandon' }),
    )
  })

  test('is kept where the destination says hold, which is said once', () => {
    const first = decide(since(dayMs + 600_000), retry, hold, now, 0)
    expect(first.effects.map(({ kind }) => kind)).toEqual(['failed', 'back_off', 'hold'])
    expect(first.health.firstFailedAt).toBe(now - dayMs - 600_000)
    const second = decide(first.health, retry, hold, now + 1_800_000, 0)
    expect(second.effects.map(({ kind }) => kind)).toEqual(['failed', 'back_off'])
  })
})
