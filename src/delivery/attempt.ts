/**
 * One attempt at a batch: a send and, for a destination that was well until now, quick retries within
 * seconds, so that a dropped connection does not cost a minute of back-off. They live in this process
 * only; what they do not mend becomes a durable failure. Whoever stops does not wait for the next try: nothing is known of the
 * batch then, and whoever goes on with it tries.
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
  /** Aborts when nothing new shall be sent: what is on its way may arrive, and the pause before a retry ends. */
  readonly stopping: AbortSignal
}

class RetryLater extends Error {
  readonly outcome: Retry

  constructor(outcome: Retry) {
    super(outcome.reason.message)
    this.outcome = outcome
  }
}

/** `signal` breaks off what is on its way, too. Rejects with the reason of either where nothing is known of the batch. */
export async function attempt(
  sender: Sender,
  batch: EncodedBatch,
  { quickRetries, rate, stopping }: AttemptOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const send = async () => {
    await rate?.pass(batch.events.length, signal)
    return sender.send(batch, signal)
  }
  if (!quickRetries) return send()
  // An answer that has come counts, whoever stops meanwhile: only the pauses hear of it.
  const pausing = new AbortController()
  let isPausing = false
  const end = () => {
    if (isPausing) pausing.abort(stopping.reason)
  }
  stopping.addEventListener('abort', end, { once: true })
  try {
    return await pRetry(
      async () => {
        isPausing = false
        const outcome = await send()
        if (outcome.kind === 'retry') throw new RetryLater(outcome)
        return outcome
      },
      {
        ...pauses,
        signal: pausing.signal,
        shouldRetry: ({ error }) => {
          if (!(error instanceof RetryLater && worthRetryingNow(error.outcome))) return false
          stopping.throwIfAborted()
          isPausing = true
          return true
        },
      },
    )
  } catch (error) {
    if (error instanceof RetryLater) return error.outcome
    throw error
  } finally {
    stopping.removeEventListener('abort', end)
  }
}

/** Failures that the next seconds do not mend: a time-out has cost its time already, and an address stays refused. */
const slowToMend: ReadonlySet<ReasonCode> = new Set(['timeout', 'address_refused'])

function worthRetryingNow({ reason, retryAfterMs = 0 }: Retry): boolean {
  return !slowToMend.has(reason.code) && retryAfterMs <= longestQuickRetryAfterMs
}
