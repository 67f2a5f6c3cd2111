/**
 * The durable back-off of a destination. The schedule is one pause per consecutive failure, its last entry
 * repeated; the jitter keeps destinations that failed together from coming back together.
 */
export interface BackoffPolicy {
  /** Milliseconds, e.g. 1, 2, 5, 10, 30 minutes. Never empty. */
  readonly scheduleMs: readonly number[]
}

/** The share of a pause by which it may be longer. Never shorter: a schedule is a promise to the endpoint. */
const jitter = 0.1

/**
 * How long to pause after the `failures`-th failure in a row (1, 2, …). `retryAfterMs`, what the endpoint
 * asked for, is a floor. `random` is in [0, 1).
 */
export function backoffMs(
  failures: number,
  policy: BackoffPolicy,
  random: number,
  retryAfterMs: number | undefined,
): number {
  const step = Math.min(Math.max(failures, 1), policy.scheduleMs.length) - 1
  const scheduled = policy.scheduleMs[step] ?? 0
  return Math.round(Math.max(scheduled, retryAfterMs ?? 0) * (1 + jitter * random))
}
