import { describe, expect, test } from 'vitest'
import type { Outcome } from '../../../providers/provider.ts'
import { decide, type Effect, type Health, healthy } from '../../../src/delivery/decide.ts'
import {
  dayMs,
  eventCount,
  gone,
  hold,
  now,
  partial,
  policy,
  reason,
  rejected,
  retry,
  unauthorized,
} from './outcomes.ts'

const outcomes: Record<Outcome['kind'], Outcome> = {
  accepted: { kind: 'accepted' },
  partial: partial({ index: 1, outcome: rejected }),
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
const delivered: Expected = { status: 'active', effects: ['settle'], failures: 0 }
const recovered: Expected = { status: 'active', effects: ['settle', 'recovered'], failures: 0 }
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
const whileFailing: Record<Outcome['kind'], Expected> = {
  accepted: recovered,
  partial: recovered,
  rejected: failed('backing_off', 4),
  retry: failed('backing_off', 4),
  unauthorized: failed('unauthorized', 4),
  gone: ended(3),
}

/** Total by its type: a status or an outcome without a line here does not compile. */
const table: Record<Health['status'], Record<Outcome['kind'], Expected>> = {
  active: {
    accepted: delivered,
    partial: delivered,
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
  const outcome = outcomes[kind as Outcome['kind']]
  const decision = decide(health, outcome, eventCount, policy, now, 0)
  expect(decision.health).toMatchObject({
    status: expected.status,
    consecutiveFailures: expected.failures,
  })
  expect(decision.effects.map((effect) => effect.kind)).toEqual(expected.effects)
})

describe('a failure', () => {
  test('is counted from the first one on and pauses by the schedule', () => {
    const first = decide(healthy, retry, eventCount, policy, now, 0)
    expect(first.health).toEqual({
      status: 'backing_off',
      consecutiveFailures: 1,
      firstFailedAt: now,
      nextAttemptAt: now + 60_000,
      lastErrorAt: now,
    })
    const second = decide(first.health, retry, eventCount, policy, now + 60_000, 0)
    expect(second.health).toMatchObject({
      consecutiveFailures: 2,
      firstFailedAt: now,
      nextAttemptAt: now + 180_000,
    })
  })

  test('pauses at least as long as the receiver asked', () => {
    const asked = decide(healthy, { ...retry, retryAfterMs: 300_000 }, eventCount, policy, now, 0)
    expect(asked.effects).toContainEqual({ kind: 'back_off', delayMs: 300_000, nextAttemptAt: now + 300_000 })
  })

  test('starts the schedule anew after an edit, and keeps the time since which it fails', () => {
    // What the database makes of an edit: no failures counted, no pause, but the first failure's time.
    const edited: Health = { ...healthy, firstFailedAt: now - 5_000, lastErrorAt: now - 1_000 }
    expect(decide(edited, retry, eventCount, policy, now, 0).health).toMatchObject({
      consecutiveFailures: 1,
      firstFailedAt: now - 5_000,
      nextAttemptAt: now + 60_000,
    })
  })

  test('ends with an accepted batch, which says how long it was', () => {
    const { health, effects } = decide(states.backing_off, { kind: 'accepted' }, eventCount, policy, now, 0)
    expect(health).toEqual(healthy)
    expect(effects).toEqual([
      { kind: 'settle', count: eventCount, refused: [] },
      { kind: 'recovered', failures: 3, failingForMs: 600_000 },
    ])
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
      decide(since(ageMs), retry, eventCount, policy, now, 0).effects.map(({ kind }) => kind)
    expect(kinds(dayMs - 1)).toEqual(['failed', 'back_off'])
    expect(kinds(dayMs)).toEqual(['failed', 'back_off', 'abandon'])
  })

  test('gives what comes after it a time of its own', () => {
    const { health } = decide(since(dayMs), retry, eventCount, policy, now, 0)
    expect(health).toMatchObject({ firstFailedAt: now, consecutiveFailures: 51 })
  })

  test('is abandoned for refused credentials too, but never while a batch is accepted', () => {
    expect(decide(since(dayMs), unauthorized, eventCount, policy, now, 0).effects).toContainEqual({
      kind: 'abandon',
      failingForMs: dayMs,
    })
    expect(decide(since(dayMs), { kind: 'accepted' }, eventCount, policy, now, 0).effects).not.toContainEqual(
      expect.objectContaining({ kind: 'abandon' }),
    )
  })

  test('is kept where the destination says hold, which is said once', () => {
    const first = decide(since(dayMs + 600_000), retry, eventCount, hold, now, 0)
    expect(first.effects.map(({ kind }) => kind)).toEqual(['failed', 'back_off', 'hold'])
    expect(first.health.firstFailedAt).toBe(now - dayMs - 600_000)
    const second = decide(first.health, retry, eventCount, hold, now + 1_800_000, 0)
    expect(second.effects.map(({ kind }) => kind)).toEqual(['failed', 'back_off'])
  })
})

describe('a partial answer', () => {
  test('settles what was accepted and the refused events as dead letters', () => {
    const { health, effects } = decide(
      healthy,
      partial({ index: 0, outcome: rejected }, { index: 2, outcome: rejected }),
      eventCount,
      policy,
      now,
      0,
    )
    expect(health).toEqual(healthy)
    expect(effects).toEqual([
      {
        kind: 'settle',
        count: 4,
        refused: [
          { index: 0, reason },
          { index: 2, reason },
        ],
      },
    ])
  })

  test('settles what lies before the first event that may pass later, and backs off', () => {
    const answer = partial(
      { index: 1, outcome: rejected },
      { index: 2, outcome: retry },
      { index: 3, outcome: rejected },
    )
    const { health, effects } = decide(states.backing_off, answer, eventCount, policy, now, 0)
    expect(effects.map(({ kind }) => kind)).toEqual(['settle', 'recovered', 'failed', 'back_off'])
    expect(effects[0]).toEqual({ kind: 'settle', count: 2, refused: [{ index: 1, reason }] })
    // Something was accepted, so this failure is the first of its own.
    expect(health).toMatchObject({ status: 'backing_off', consecutiveFailures: 1, firstFailedAt: now })
  })

  test('settles nothing where nothing was accepted before it stopped', () => {
    const stopped = partial({ index: 0, outcome: rejected }, { index: 1, outcome: unauthorized })
    const { health, effects } = decide(healthy, stopped, eventCount, policy, now, 0)
    expect(effects.map(({ kind }) => kind)).toEqual(['failed', 'back_off'])
    expect(health.status).toBe('unauthorized')
  })

  test('that refuses every event is the destination’s fault: nothing is dead-lettered', () => {
    const all = partial(...[0, 1, 2, 3].map((index) => ({ index, outcome: rejected })))
    const { health, effects } = decide(healthy, all, eventCount, policy, now, 0)
    expect(effects.map(({ kind }) => kind)).toEqual(['failed', 'back_off'])
    expect(effects[0]).toMatchObject({ outcome: 'rejected' })
    expect(health.status).toBe('backing_off')
  })

  test('that ends with gone settles what came before and disables', () => {
    const { health, effects } = decide(
      healthy,
      partial({ index: 2, outcome: gone }),
      eventCount,
      policy,
      now,
      0,
    )
    expect(effects.map(({ kind }) => kind)).toEqual(['settle', 'failed', 'disable'])
    expect(health.status).toBe('disabled')
  })
})
