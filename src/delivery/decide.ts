/**
 * What follows for a destination from an answer: `decide(health, outcome, now) → { health, effects }`. Pure; the
 * `Condition` performs the effects, in their order. What follows for the events is `Halving`'s.
 *
 * | status       | entered by                          | left by                                  |
 * |--------------|-------------------------------------|------------------------------------------|
 * | active       | an accepted event, an edit          | a failure                                |
 * | backing_off  | retry, a wholly refused batch       | an accepted event, an edit               |
 * | unauthorized | 401, 403                            | an accepted event, an edit               |
 * | disabled     | 410, the operator                   | the operator                             |
 *
 * (`invalid` is the registry's: such a destination has no forwarder.)
 */
import type { Accepted, Gone, Reason, Rejected, Retry, Unauthorized } from '../../providers/provider.ts'
import { type BackoffPolicy, backoffMs } from './backoff.ts'

/** A destination's failure record. Instants are epoch milliseconds of the database's clock. */
export interface Health {
  readonly status: 'active' | 'backing_off' | 'unauthorized' | 'disabled'
  readonly consecutiveFailures: number
  /** Since when it has failed without an accepted event in between. */
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

/** What is known of a destination: `rejected` means that it refused every event it was sent. */
export type Verdict = Accepted | Rejected | Retry | Unauthorized | Gone

export type Effect =
  | { readonly kind: 'recovered'; readonly failures: number; readonly failingForMs: number }
  | { readonly kind: 'failed'; readonly outcome: FailureKind; readonly reason: Reason }
  | { readonly kind: 'back_off'; readonly delayMs: number; readonly nextAttemptAt: number }
  /** Skip the backlog up to the horizon, on the record. */
  | { readonly kind: 'abandon'; readonly failingForMs: number }
  /** The backlog is past its age and is kept all the same: said once. */
  | { readonly kind: 'hold'; readonly failingForMs: number }
  | { readonly kind: 'disable'; readonly reason: Reason }

export type FailureKind = Exclude<Verdict['kind'], 'accepted'>

export interface Decision {
  readonly health: Health
  readonly effects: readonly Effect[]
}

/** `random` in [0, 1) feeds the jitter. */
export function decide(
  health: Health,
  verdict: Verdict,
  policy: DecidePolicy,
  now: number,
  random: number,
): Decision {
  switch (verdict.kind) {
    case 'accepted':
      return { health: healthy, effects: recovery(health, now) }
    case 'gone':
      return {
        health: { ...health, status: 'disabled', nextAttemptAt: undefined, lastErrorAt: now },
        effects: [
          { kind: 'failed', outcome: 'gone', reason: verdict.reason },
          { kind: 'disable', reason: verdict.reason },
        ],
      }
    case 'retry':
      return fail(health, 'retry', verdict.reason, verdict.retryAfterMs, policy, now, random)
    case 'unauthorized':
    case 'rejected':
      return fail(health, verdict.kind, verdict.reason, undefined, policy, now, random)
    default:
      return verdict satisfies never
  }
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
