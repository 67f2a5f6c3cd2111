/**
 * One attempt at a batch: a send and, for a destination that was well until now, quick retries within
 * seconds, so that a dropped connection does not cost a minute of back-off. They live in this process
 * only; what they do not mend becomes a durable failure.
 */
import pRetry from 'p-retry'
import type { EncodedBatch, Outcome, ReasonCode, Retry, Sender } from '../../providers/provider.ts'
import type { RateLimit } from './rate-limit.ts'

/** 0.5 s and 1.5 s, each up to doubled by jitter. */
const pauses = { retries: 2, minTimeout: 500, factor: 3, maxTimeout: 3_000, randomize: true }

/** The receiver asked for a longer pause than quick retries make. */
const longestQuickRetryAfterMs = 500

export interface AttemptOptions {
  /** For a destination that was well until now. */
  readonly quickRetries: boolean
  /** Every request keeps to it, retries too. */
  readonly rate?: RateLimit | undefined
}

class RetryLater extends Error {
  readonly outcome: Retry

  constructor(outcome: Retry) {
    super(outcome.reason.message)
    this.outcome = outcome
  }
}

export async function attempt(
  sender: Sender,
  batch: EncodedBatch,
  { quickRetries, rate }: AttemptOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const send = async () => {
    await rate?.pass(batch.events.length, signal)
    return sender.send(batch, signal)
  }
  if (!quickRetries) return send()
  try {
    return await pRetry(
      async () => {
        const outcome = await send()
        if (outcome.kind === 'retry') throw new RetryLater(outcome)
        return outcome
      },
      {
        ...pauses,
        signal,
        shouldRetry: ({ error }) => error instanceof RetryLater && worthRetryingNow(error.outcome),
      },
    )
  } catch (error) {
    if (error instanceof RetryLater) return error.outcome
    throw error
  }
}

/** Failures that the next seconds do not mend: a time-out has cost its time already, and an address stays refused. */
const slowToMend: ReadonlySet<ReasonCode> = new Set(['timeout', 'address_refused'])

function worthRetryingNow({ reason, retryAfterMs = 0 }: Retry): boolean {
  return !slowToMend.has(reason.code) && retryAfterMs <= longestQuickRetryAfterMs
}
