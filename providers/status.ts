/**
 * An HTTP answer, or the lack of one, as an outcome. Pure: time is an argument. The table is the same for
 * every provider that speaks HTTP; a vendor's own reading of a 2xx (item errors, a success status that is
 * not 200) goes before it in that provider's sender.
 */
import { STATUS_CODES } from 'node:http'
import type { Accepted, Gone, HttpAnswer, HttpFailure, Rejected, Retry, Unauthorized } from './provider.ts'

/** What one request can come to: everything but `partial`, which only a provider that sees items can know. */
export type WholeOutcome = Accepted | Rejected | Retry | Unauthorized | Gone

/** 1 h, about twice the longest pause of the default back-off: a receiver that says "next week" is not heard. */
const maxRetryAfterMs = 3_600_000

/** `now` is epoch milliseconds; it is needed for a `Retry-After` that is a date. */
export function statusOutcome(answer: Pick<HttpAnswer, 'status' | 'headers'>, now: number): WholeOutcome {
  const { status } = answer
  const reason = { code: 'http_status', status, message: `The receiver answered ${named(status)}.` } as const

  if (status >= 200 && status < 300) return { kind: 'accepted' }
  if (status >= 300 && status < 400) {
    const message = `The receiver answered ${named(status)}. Redirects are never followed: write the final address.`
    return retry({ code: 'redirect', status, message }, answer, now)
  }
  if (status === 401 || status === 403) return { kind: 'unauthorized', reason }
  if (status === 410) return { kind: 'gone', reason }
  if (status === 408 || status === 429) return retry(reason, answer, now)
  if ((status >= 400 && status < 500) || status === 501) return { kind: 'rejected', reason }
  if (status >= 500 && status < 600) return retry(reason, answer, now)
  return malformedAnswer(status, `The receiver answered with the status ${status}, which ends no request.`)
}

/** An answer that says neither yes nor no: the events are kept and sent again. */
export function malformedAnswer(status: number, message: string): Retry {
  return { kind: 'retry', reason: { code: 'malformed_answer', status, message } }
}

/** A request that brought no answer. An `aborted` one has no outcome: nobody waits for it any more. */
export function failureOutcome(code: Exclude<HttpFailure['code'], 'aborted'>, message: string): Retry {
  return { kind: 'retry', reason: { code, message } }
}

/**
 * `Retry-After` (RFC 9110, 10.2.3) in milliseconds: whole seconds or an HTTP date. Nothing for what is
 * past, zero or cannot be read; at most one hour.
 */
export function parseRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined
  const text = value.trim()
  const waitMs = /^\d+$/.test(text) ? Number(text) * 1000 : parseHttpDate(text) - now
  return waitMs > 0 ? Math.min(waitMs, maxRetryAfterMs) : undefined
}

function retry(reason: Retry['reason'], answer: Pick<HttpAnswer, 'headers'>, now: number): Retry {
  const retryAfterMs = parseRetryAfter(answer.headers['retry-after'], now)
  return retryAfterMs === undefined ? { kind: 'retry', reason } : { kind: 'retry', reason, retryAfterMs }
}

/** The three date forms of RFC 9110, 5.6.7. `Date.parse` alone would also read "1.5" and "May". NaN if none. */
function parseHttpDate(text: string): number {
  if (/^[A-Z][a-z]{2,8}, \d{2}[ -][A-Z][a-z]{2}[ -]\d{2,4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) {
    return Date.parse(text)
  }
  // The asctime form names no zone and means GMT; without one Date.parse takes the machine's own.
  if (/^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/.test(text)) {
    return Date.parse(`${text} GMT`)
  }
  return Number.NaN
}

function named(status: number): string {
  const name = STATUS_CODES[status]
  return name === undefined ? `${status}` : `${status} ${name}`
}
