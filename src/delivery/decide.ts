/**
 * What follows from an outcome: `decide(health, outcome, now) → { health, effects }`. Pure; the forwarder
 * performs the effects, in their order.
 *
 * | status       | entered by                          | left by                                  |
 * |--------------|-------------------------------------|------------------------------------------|
 * | active       | an accepted batch, an edit          | a failure                                |
 * | backing_off  | retry, a wholly refused batch       | an accepted batch, an edit               |
 * | unauthorized | 401, 403                            | an accepted batch, an edit               |
 * | disabled     | 410, the operator                   | the operator                             |
 *
 * (`invalid` is the registry's: such a destination has no forwarder.)
 */
import type { Outcome, Reason } from '../../providers/provider.ts'
import { type BackoffPolicy, backoffMs } from './backoff.ts'

/** A destination's failure record. Instants are epoch milliseconds of the database's clock. */
export interface Health {
  readonly status: 'active' | 'backing_off' | 'unauthorized' | 'disabled'
  readonly consecutiveFailures: number
  /** Since when it has failed without an accepted batch in between. */
  readonly firstFailedAt: number | undefined
  readonly nextAttemptAt: number | undefined
  readonly lastErrorAt: number | undefined
}

export const healthy: Health = {
  status: 'active',
  consecutiveFailures: 0,
  firstFailedAt: undefined,
  nextAttemptAt: undefined,
  lastErrorAt: undefined,
}

export interface DecidePolicy extends BackoffPolicy {
  readonly maxBacklogAgeMs: number
  readonly onBacklogExpiry: 'skip' | 'hold'
}

/** An event that the destination refuses for good. */
export interface RefusedEvent {
  readonly index: number
  readonly reason: Reason
}

export type Effect =
  /** Settle the batch's first `count` events, the refused ones among them as dead letters. */
  | { readonly kind: 'settle'; readonly count: number; readonly refused: readonly RefusedEvent[] }
  | { readonly kind: 'recovered'; readonly failures: number; readonly failingForMs: number }
  | { readonly kind: 'failed'; readonly outcome: FailureKind; readonly reason: Reason }
  | { readonly kind: 'back_off'; readonly delayMs: number; readonly nextAttemptAt: number }
  /** Skip the backlog up to the horizon, on the record. */
  | { readonly kind: 'abandon'; readonly failingForMs: number }
  /** The backlog is past its age and is kept all the same: said once. */
  | { readonly kind: 'hold'; readonly failingForMs: number }
  | { readonly kind: 'disable'; readonly reason: Reason }

export type FailureKind = 'retry' | 'rejected' | 'unauthorized' | 'gone'

export interface Decision {
  readonly health: Health
  readonly effects: readonly Effect[]
}

/** `eventCount` is the batch's; `random` in [0, 1) feeds the jitter. */
export function decide(
  health: Health,
  outcome: Outcome,
  eventCount: number,
  policy: DecidePolicy,
  now: number,
  random: number,
): Decision {
  switch (outcome.kind) {
    case 'accepted':
      return { health: healthy, effects: [settle(eventCount, []), ...recovery(health, now)] }
    case 'partial':
      return decidePartial(health, outcome.refused, eventCount, policy, now, random)
    case 'gone':
      return {
        health: { ...health, status: 'disabled', nextAttemptAt: undefined, lastErrorAt: now },
        effects: [
          { kind: 'failed', outcome: 'gone', reason: outcome.reason },
          { kind: 'disable', reason: outcome.reason },
        ],
      }
    case 'retry':
      return fail(health, 'retry', outcome.reason, outcome.retryAfterMs, policy, now, random)
    case 'unauthorized':
    case 'rejected':
      // Every event of the batch was refused: it is the destination that is wrong, not the events.
      return fail(health, outcome.kind, outcome.reason, undefined, policy, now, random)
    default:
      return outcome satisfies never
  }
}

type Refusals = Extract<Outcome, { kind: 'partial' }>['refused']

/** Settles what comes before the first refusal that may pass; that one decides how it goes on. */
function decidePartial(
  health: Health,
  refusals: Refusals,
  eventCount: number,
  policy: DecidePolicy,
  now: number,
  random: number,
): Decision {
  const stop = refusals.find(({ outcome }) => outcome.kind !== 'rejected')
  const count = stop?.index ?? eventCount
  const refused = refusals.flatMap(({ index, outcome }) =>
    outcome.kind === 'rejected' && index < count ? [{ index, reason: outcome.reason }] : [],
  )
  if (count === 0 || refused.length === count) {
    // Nothing was accepted before it stopped: judged as if the whole batch had been answered so.
    const answer = stop?.outcome ?? refusals[0]?.outcome ?? { kind: 'accepted' as const }
    return decide(health, answer, eventCount, policy, now, random)
  }
  const effects: Effect[] = [settle(count, refused), ...recovery(health, now)]
  if (!stop) return { health: healthy, effects }
  const rest = decide(healthy, stop.outcome, eventCount - count, policy, now, random)
  return { health: rest.health, effects: [...effects, ...rest.effects] }
}

function settle(count: number, refused: readonly RefusedEvent[]): Effect {
  return { kind: 'settle', count, refused }
}

function recovery(health: Health, now: number): Effect[] {
  if (health.firstFailedAt === undefined) return []
  return [
    { kind: 'recovered', failures: health.consecutiveFailures, failingForMs: now - health.firstFailedAt },
  ]
}

function fail(
  health: Health,
  outcome: Exclude<FailureKind, 'gone'>,
  reason: Reason,
  retryAfterMs: number | undefined,
  policy: DecidePolicy,
  now: number,
  random: number,
): Decision {
  const failures = health.consecutiveFailures + 1
  const firstFailedAt = health.firstFailedAt ?? now
  const failingForMs = now - firstFailedAt
  const delayMs = backoffMs(failures, policy, random, retryAfterMs)
  const expired = failingForMs >= policy.maxBacklogAgeMs
  const abandon = expired && policy.onBacklogExpiry === 'skip'
  const heldBefore = (health.lastErrorAt ?? firstFailedAt) - firstFailedAt >= policy.maxBacklogAgeMs
  // The back-off is stored before anything is given up: a crash in between keeps the backlog.
  const effects: Effect[] = [
    { kind: 'failed', outcome, reason },
    { kind: 'back_off', delayMs, nextAttemptAt: now + delayMs },
  ]
  if (abandon) effects.push({ kind: 'abandon', failingForMs })
  else if (expired && !heldBefore) effects.push({ kind: 'hold', failingForMs })
  return {
    health: {
      status: outcome === 'unauthorized' ? 'unauthorized' : 'backing_off',
      consecutiveFailures: failures,
      // What comes after an abandoned backlog gets its own time.
      firstFailedAt: abandon ? now : firstFailedAt,
      nextAttemptAt: now + delayMs,
      lastErrorAt: now,
    },
    effects,
  }
}
