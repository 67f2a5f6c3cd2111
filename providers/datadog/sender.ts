/** Sends batches to Datadog's log intake (v2). Stateless. */
import { compress, exchange, frame } from '../exchange.ts'
import type { HttpAnswer, Sender, SenderDeps } from '../provider.ts'
import { malformedAnswer, statusOutcome, type WholeOutcome } from '../status.ts'
import { userAgent } from '../user-agent.ts'
import type { DatadogConfig } from './config.ts'
import { datadogFraming } from './encode.ts'

export function openDatadogSender(config: DatadogConfig, deps: SenderDeps): Sender {
  const headers = {
    'content-type': 'application/json',
    'content-encoding': 'gzip',
    'user-agent': userAgent,
    'dd-api-key': config.apiKey,
  }
  return {
    async send(batch, signal) {
      const request = {
        method: 'POST',
        url: config.url,
        headers,
        body: await compress(frame(batch, datadogFraming)),
        timeoutMs: config.timeoutMs ?? deps.requestTimeoutMs,
      } as const
      return exchange(deps.http, request, signal, (answer) => judge(answer, deps.now()))
    },
    async close() {},
  }
}

/**
 * The intake says 202 and no other 2xx (API reference, "Send logs"). Another one comes from something in
 * between, such as a proxy's log-in page, and does not mean that the logs have arrived.
 */
function judge(answer: HttpAnswer, now: number): WholeOutcome {
  const outcome = statusOutcome(answer, now)
  if (outcome.kind !== 'accepted' || answer.status === 202) return outcome
  const message = `The intake answered ${answer.status}, where Datadog answers 202. Is something in between?`
  return malformedAnswer(answer.status, message)
}
