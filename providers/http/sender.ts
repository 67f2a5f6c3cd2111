/**
 * Sends batches to one HTTP endpoint. Stateless but for an OAuth token: ids come with the batch, the time from
 * outside, and the connections belong to the daemon's client.
 */
import { compress, exchange, frame } from '../exchange.ts'
import { openAuthorizer } from '../oauth.ts'
import type { EncodedBatch, Outcome, Refusal, Sender, SenderDeps } from '../provider.ts'
import { signatures } from '../signing.ts'
import { statusOutcome, type WholeOutcome } from '../status.ts'
import { explainTls } from '../tls.ts'
import { userAgent } from '../user-agent.ts'
import type { HttpConfig } from './config.ts'
import { contentType, httpFraming } from './encode.ts'

/** Delivers one body under one id. */
type Post = (
  id: string,
  body: Uint8Array | string,
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

  const { oauth, signingKeys, tls } = config
  const timeoutMs = config.timeoutMs ?? deps.requestTimeoutMs
  const authorizer = oauth && openAuthorizer(oauth, deps)

  const post: Post = async (id, plain, replayId, signal) => {
    const body = framing.gzip ? await compress(plain) : plain
    const request = (credentials: Record<string, string>, timeoutMs: number) => {
      // Standard Webhooks: the id is the same in every attempt, the time is the attempt's own.
      const timestamp = Math.floor(deps.now() / 1000)
      const sent = {
        method: config.method,
        url: config.url,
        headers: {
          ...headers,
          'webhook-id': id,
          'webhook-timestamp': String(timestamp),
          // Without compression: it is how the body travels, and undone by most servers before anybody looks.
          ...(signingKeys.length > 0 && {
            'webhook-signature': signatures(signingKeys, id, timestamp, plain),
          }),
          // A quoted string (RFC 8941), as the draft of the Idempotency-Key header asks for.
          'idempotency-key': `"${id}"`,
          ...(replayId !== undefined && { 'spillway-replay': replayId }),
          ...credentials,
        },
        body,
        ...(tls && { tls: tls.identity }),
        timeoutMs,
      }
      return exchange(deps.http, sent, signal, (answer) => statusOutcome(answer, deps.now()))
    }
    const outcome = authorizer
      ? await authorizer.send(request, timeoutMs, signal)
      : await request({}, timeoutMs)
    return tls ? explainTls(outcome, tls, deps.now()) : outcome
  }

  return {
    async send(batch, signal) {
      if (framing.onePerRequest === true) return sendOneByOne(batch, post, signal)
      return post(batch.id, frame(batch, framing), batch.replayId, signal)
    },
    async close() {
      authorizer?.close()
    },
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
