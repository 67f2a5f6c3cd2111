/** Policies and answers to decide about. */
import type { Outcome, Reason, Refusal } from '../../../providers/provider.ts'
import type { DecidePolicy } from '../../../src/delivery/decide.ts'

export const now = 1_000_000_000
export const dayMs = 86_400_000
export const policy: DecidePolicy = {
  scheduleMs: [60_000, 120_000],
  maxBacklogAgeMs: dayMs,
  onBacklogExpiry: 'skip',
}
export const hold: DecidePolicy = { ...policy, onBacklogExpiry: 'hold' }
export const reason: Reason = { code: 'http_status', status: 503, message: 'The receiver answered 503.' }

export const retry: Outcome & { kind: 'retry' } = { kind: 'retry', reason }
export const rejected: Outcome & { kind: 'rejected' } = { kind: 'rejected', reason }
export const unauthorized: Outcome & { kind: 'unauthorized' } = { kind: 'unauthorized', reason }
export const gone: Outcome & { kind: 'gone' } = { kind: 'gone', reason }
export const partial = (...refused: Refusal[]): Outcome => ({ kind: 'partial', refused })
