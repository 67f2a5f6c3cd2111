import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { HttpFailure } from '../../../providers/provider.ts'
import { failureOutcome, parseRetryAfter, statusOutcome } from '../../../providers/status.ts'
import { runs } from './events.ts'

const now = Date.UTC(2026, 2, 1, 12)
const hour = 3_600_000

describe('a status', () => {
  /** Written out once more, in another way than the code does it. */
  function expected(status: number): string {
    if ([401, 403].includes(status)) return 'unauthorized'
    if (status === 410) return 'gone'
    if ([408, 429].includes(status)) return 'retry'
    if (status === 501) return 'rejected'
    return (
      { 1: 'retry', 2: 'accepted', 3: 'retry', 4: 'rejected', 5: 'retry' }[Math.floor(status / 100)] ?? ''
    )
  }

  it('from 100 to 599 has exactly one meaning', () => {
    for (let status = 100; status < 600; status += 1) {
      const outcome = statusOutcome({ status, headers: {} }, now)
      expect([status, outcome.kind]).toEqual([status, expected(status)])
      if (outcome.kind !== 'accepted') {
        const code = status < 200 ? 'malformed_answer' : status < 400 ? 'redirect' : 'http_status'
        expect(outcome.reason).toMatchObject({ code, status })
      }
    }
  })

  it.each([0, 99, 600, 999])('of %i, which does not exist, is a malformed answer', (status) => {
    const outcome = statusOutcome({ status, headers: {} }, now)
    expect(outcome).toMatchObject({ kind: 'retry', reason: { code: 'malformed_answer' } })
  })

  it('is named for people, without what the answer said', () => {
    const headers = { 'retry-after': '3', 'x-secret': 'hush' }
    const outcome = statusOutcome({ status: 503, headers }, now)
    expect(outcome).toEqual({
      kind: 'retry',
      retryAfterMs: 3_000,
      reason: { code: 'http_status', status: 503, message: 'The receiver answered 503 Service Unavailable.' },
    })
  })

  it.each([400, 401, 410, 501])('%i takes no Retry-After', (status) => {
    expect(statusOutcome({ status, headers: { 'retry-after': '3' } }, now)).not.toHaveProperty('retryAfterMs')
  })
})

describe('Retry-After', () => {
  it.each([
    ['5', 5_000],
    [' 120 ', 120_000],
    ['3600', hour],
    ['3601', hour],
    ['99999999999999999999', hour],
    ['Sun, 01 Mar 2026 12:00:30 GMT', 30_000],
    ['Sunday, 01-Mar-26 12:00:30 GMT', 30_000],
    ['Sun Mar  1 12:00:30 2026', 30_000],
    ['Mon, 02 Mar 2026 12:00:00 GMT', hour],
  ])('%s is a pause', (value, pauseMs) => {
    expect(parseRetryAfter(value, now)).toBe(pauseMs)
  })

  it.each([
    undefined,
    '',
    '0',
    '-5',
    '1.5',
    '5s',
    '5, 10',
    'soon',
    'May',
    'Sun, 01 Mar 2026 11:59:59 GMT',
    'Sun, 99 Mar 2026 12:00:30 GMT',
    '2026-03-01T12:00:30Z',
  ])('%s is none', (value) => {
    expect(parseRetryAfter(value, now)).toBeUndefined()
  })

  it('means GMT in the form that does not say so, wherever the daemon runs', () => {
    const zone = process.env.TZ
    process.env.TZ = 'America/New_York'
    try {
      expect(parseRetryAfter('Sun Mar  1 12:00:30 2026', now)).toBe(30_000)
    } finally {
      if (zone === undefined) delete process.env.TZ
      else process.env.TZ = zone
    }
  })

  it('is never negative, never more than an hour and never NaN', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.integer().map(String),
          fc.date({ noInvalidDate: true }).map((d) => d.toUTCString()),
        ),
        (value) => {
          const pause = parseRetryAfter(value, now)
          expect(pause === undefined || (pause > 0 && pause <= hour)).toBe(true)
        },
      ),
      runs,
    )
  })
})

describe('a request without an answer', () => {
  it.each(['timeout', 'connection_refused', 'connection_reset', 'dns', 'tls', 'network'] as const)(
    '(%s) is tried again',
    (code) => {
      const failure = new HttpFailure(code, 'no answer')
      expect(failureOutcome(code, failure.message)).toEqual({
        kind: 'retry',
        reason: { code, message: 'no answer' },
      })
    },
  )
})
