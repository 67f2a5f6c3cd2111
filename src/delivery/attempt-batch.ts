/** An attempt at a destination's batch, in a span of its own: the requests that it makes are the span's children. */
import type { Outcome, Sender } from '../../providers/provider.ts'
import type { Destination } from '../destinations/destination.ts'
import type { Attributes, Tracing } from '../telemetry/tracing.ts'
import { type AttemptOptions, attempt } from './attempt.ts'
import type { Batch } from './batch.ts'
import { eachAlone } from './halving.ts'

export interface BatchAttemptOptions extends AttemptOptions {
  readonly tracing: Tracing
}

export function attemptBatch(
  { id, type, configured }: Pick<Destination, 'id' | 'type' | 'configured'>,
  sender: Sender,
  batch: Batch,
  options: BatchAttemptOptions,
  signal: AbortSignal,
): Promise<Outcome> {
  const attributes = {
    'spillway.destination.id': id,
    'spillway.destination.type': type,
    'spillway.log_type': batch.logType,
    'spillway.batch.id': batch.id,
    'spillway.batch.bytes': batch.bytes,
    'messaging.batch.message_count': batch.events.length,
    ...(batch.replayId !== undefined && { 'spillway.replay.id': batch.replayId }),
  }
  return options.tracing.span('spillway.deliver', 'producer', attributes, async (span) => {
    const answer = await attempt(sender, batch, options, signal)
    const outcome = configured.framing.onePerRequest ? eachAlone(answer, batch) : answer
    const { attributes: came, code } = describe(outcome)
    span.set(came)
    if (code !== undefined) span.fail(code)
    return outcome
  })
}

/** Codes and counts; the reason's message stays out. */
function describe(outcome: Outcome): { readonly attributes: Attributes; readonly code?: string } {
  const kind = { 'spillway.outcome': outcome.kind }
  if (outcome.kind === 'accepted') return { attributes: kind }
  const reason = outcome.kind === 'partial' ? outcome.refused[0]?.outcome.reason : outcome.reason
  const refused = outcome.kind === 'partial' && { 'spillway.batch.refused': outcome.refused.length }
  const status = reason?.status !== undefined && { 'http.response.status_code': reason.status }
  return { attributes: { ...kind, ...refused, ...status }, code: reason?.code ?? outcome.kind }
}
