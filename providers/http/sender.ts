/**
 * Sends batches to one HTTP endpoint. Stateless: ids come with the batch, the time from outside, and the
 * connections belong to the daemon's client.
 */
import { compress, exchange, frame } from '../exchange.ts'
import type { EncodedBatch, Outcome, Refusal, Sender, SenderDeps } from '../provider.ts'
import { statusOutcome, type WholeOutcome } from '../status.ts'
import { userAgent } from '../user-agent.ts'
import type { HttpConfig } from './config.ts'
import { contentType, httpFraming } from './encode.ts'

/** Delivers one body under one id. */
type Post = (
  id: string,
  body: string,
  replayId: string | undefined,
  signal: AbortSignal,
) => Promise<WholeOutcome>

export function openHttpSender(config: HttpConfig, deps: SenderDeps): Sender {
  const framing = httpFraming(config)
  const headers = {
    ...config.headers,
    'content-type': contentType(config),
    'user-agent': userAgent,
    ...(framing.gzip && { 'content-encoding': 'gzip' }),
  }

  const post: Post = async (id, text, replayId, signal) => {
    const body = framing.gzip ? await compress(text) : text
    const request = {
      method: config.method,
      url: config.url,
      headers: {
        ...headers,
        // Standard Webhooks: the id is the same in every attempt, the time is the attempt's own.
        'webhook-id': id,
        'webhook-timestamp': String(Math.floor(deps.now() / 1000)),
        // A quoted string (RFC 8941), as the draft of the Idempotency-Key header asks for.
        'idempotency-key': `"${id}"`,
        ...(replayId !== undefined && { 'spillway-replay': replayId }),
      },
      body,
      timeoutMs: config.timeoutMs ?? deps.requestTimeoutMs,
    }
    return exchange(deps.http, request, signal, (answer) => statusOutcome(answer, deps.now()))
  }

  return {
    async send(batch, signal) {
      if (framing.onePerRequest === true) return sendOneByOne(batch, post, signal)
      return post(batch.id, frame(batch, framing), batch.replayId, signal)
    },
    async close() {},
  }
}

/**
 * One request an event, in order. A refused event is noted and the next one sent. Whatever concerns the
 * destination and not the event (retry, unauthorized, gone) ends the batch there, because going on would
 * deliver later events before an earlier one.
 */
async function sendOneByOne(batch: EncodedBatch, post: Post, signal: AbortSignal): Promise<Outcome> {
  const refused: Refusal[] = []
  for (const [index, event] of batch.events.entries()) {
    const outcome = await post(batch.eventBatchId(index), event.body, batch.replayId, signal)
    if (outcome.kind === 'accepted') continue
    if (outcome.kind === 'rejected') {
      refused.push({ index, outcome })
      continue
    }
    if (index === 0) return outcome
    const rest = batch.events.length - index
    refused.push(...Array.from({ length: rest }, (_, offset) => ({ index: index + offset, outcome })))
    return { kind: 'partial', refused }
  }

  const [first] = refused
  if (first === undefined) return { kind: 'accepted' }
  return refused.length === batch.events.length ? first.outcome : { kind: 'partial', refused }
}
