import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Reason } from '../../../providers/provider.ts'
import { cutBatch } from '../../../src/delivery/batch.ts'
import { type Health, healthy } from '../../../src/delivery/decide.ts'
import { Reporter } from '../../../src/delivery/reporter.ts'
import type { Log } from '../../../src/telemetry/log.ts'
import { items, rules } from './items.ts'

const reason: Reason = { code: 'http_status', status: 503, message: 'The receiver answered 503.' }
const { batch } = cutBatch(items(3), 0, '0', undefined, rules(), 0)
const failures = (consecutiveFailures: number): Health => ({ ...healthy, consecutiveFailures })

function reporting() {
  const lines: [code: string, fields: Record<string, unknown>][] = []
  const log: Log = {
    emit: (code, ...[fields]) => {
      lines.push([code, { ...fields }])
    },
    child: () => log,
    count: () => {},
    flush: async () => {},
  }
  const clock = { now: () => Date.now(), monotonic: () => Date.now() }
  const reporter = new Reporter(log, clock, { id: 7, name: 'siem', type: 'http', orgId: 'acme' })
  return { lines, reporter, codes: () => lines.splice(0).map(([code]) => code) }
}

beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
})
afterEach(() => {
  vi.useRealTimers()
})

const settling = (accepted: number) => ({ to: batch.to, skipped: [], deadLetters: [], accepted })

describe('deliveries', () => {
  test('are a debug line each and a summary at once, then at most every 30 s', () => {
    const { lines, reporter, codes } = reporting()
    reporter.delivered(batch, settling(3), 12.4)
    expect(lines).toMatchObject([
      ['batch.delivered', { destination_id: 7, org: 'acme', events: 3, from: '1', to: '3', duration_ms: 12 }],
      ['destination.delivered', { events: 3, batches: 1, bytes: batch.bytes }],
    ])
    codes()
    for (let second = 0; second < 29; second += 1) {
      vi.advanceTimersByTime(1_000)
      reporter.delivered(batch, settling(3), 1)
    }
    expect(new Set(codes())).toEqual(new Set(['batch.delivered']))
    vi.advanceTimersByTime(1_000)
    expect(lines).toMatchObject([['destination.delivered', { events: 87, batches: 29, since_ms: 30_000 }]])
  })

  test('are not summed up where there were none', () => {
    const { reporter, codes } = reporting()
    reporter.delivered(batch, settling(3), 1)
    codes()
    vi.advanceTimersByTime(300_000)
    reporter.summarise()
    expect(codes()).toEqual([])
  })

  test('that were not summed up yet are when it stops', () => {
    const { lines, reporter, codes } = reporting()
    reporter.delivered(batch, settling(3), 1)
    reporter.delivered(batch, settling(2), 1)
    codes()
    reporter.summarise()
    expect(lines).toMatchObject([['destination.delivered', { events: 2, batches: 1 }]])
    codes()
    vi.advanceTimersByTime(60_000)
    expect(codes()).toEqual([])
  })
})

describe('failures', () => {
  test('are a line at once, then at most one every 30 s that counts the others, then one when it is over', () => {
    const { lines, reporter, codes } = reporting()
    for (let count = 1; count <= 8; count += 1) {
      reporter.failed(batch, 'retry', reason, failures(count))
      reporter.backingOff(failures(count), Date.now() + 10_000, 10_000)
      vi.advanceTimersByTime(10_000)
    }
    reporter.recovered(8, 80_000)
    expect(lines.map(([code, fields]) => [code, fields.suppressed ?? fields.failures])).toEqual([
      ['destination.failed', 0],
      ['destination.backing_off', undefined],
      ['destination.failed', 2],
      ['destination.backing_off', undefined],
      ['destination.failed', 2],
      ['destination.backing_off', undefined],
      ['destination.recovered', 8],
    ])
    codes()
    reporter.failed(batch, 'retry', reason, failures(1))
    expect(codes()).toEqual(['destination.failed'])
  })

  test('say why, and of which batch, without more than the reason holds', () => {
    const { lines, reporter } = reporting()
    reporter.failed(batch, 'retry', reason, failures(1))
    expect(lines[0]).toEqual([
      'destination.failed',
      {
        destination_id: 7,
        name: 'siem',
        type: 'http',
        org: 'acme',
        log_type: 'request',
        batch_id: batch.id,
        outcome: 'retry',
        reason: 'http_status',
        status: 503,
        message: reason.message,
        consecutive_failures: 1,
        suppressed: 0,
      },
    ])
  })

  test('of the credentials are said once, until it has recovered', () => {
    const { reporter, codes } = reporting()
    for (let count = 1; count <= 3; count += 1) {
      reporter.failed(batch, 'unauthorized', reason, failures(count))
      vi.advanceTimersByTime(60_000)
    }
    expect(codes().filter((code) => code === 'destination.unauthorized')).toHaveLength(1)
    reporter.recovered(3, 180_000)
    reporter.failed(batch, 'unauthorized', reason, failures(1))
    expect(codes()).toEqual(['destination.recovered', 'destination.failed', 'destination.unauthorized'])
  })

  test('for good are said as gone', () => {
    const { reporter, codes } = reporting()
    reporter.failed(batch, 'gone', { ...reason, status: 410 }, failures(1))
    expect(codes()).toEqual(['destination.failed', 'destination.gone'])
  })
})

describe('what was not delivered', () => {
  test('is one line for the abandoned ranges of all log types, with their sum', () => {
    const { lines, reporter } = reporting()
    const range = { from: '3', to: '9', count: 5, reason: 'backlog_expired' }
    reporter.abandoned(
      [
        { ...range, logType: 'request' },
        { ...range, logType: 'action', count: 2 },
      ],
      86_400_000.4,
    )
    expect(lines).toMatchObject([
      [
        'backlog.abandoned',
        {
          event_count: 7,
          failing_for_ms: 86_400_000,
          ranges: [
            { log_type: 'request', from_position: '3', to_position: '9', event_count: 5 },
            { log_type: 'action', event_count: 2 },
          ],
        },
      ],
    ])
  })

  test('is a line for a batch’s skipped ranges, one for each dead letter, and none where there is nothing', () => {
    const { lines, reporter, codes } = reporting()
    reporter.skipped('request', [])
    reporter.deadLettered('request', [])
    expect(lines).toEqual([])
    const range = { from: '3', to: '9', count: 5, reason: 'too_old_for_provider' }
    const letter = {
      position: '4',
      eventId: 'request:4',
      code: 'event_too_large' as const,
      message: 'Large.',
    }
    const ahead = { ...range, reason: 'too_far_ahead_for_provider' }
    reporter.skipped('request', [range, ahead, { ...range, count: 1 }])
    reporter.deadLettered('request', [letter, { ...letter, eventId: 'request:5' }])
    expect(lines[0]?.[1]).toMatchObject({ event_count: 6, reason: 'too_old_for_provider' })
    expect(lines[1]?.[1]).toMatchObject({ event_count: 5, reason: 'too_far_ahead_for_provider' })
    expect(codes()).toEqual([
      'events.skipped',
      'events.skipped',
      'event.dead_lettered',
      'event.dead_lettered',
    ])
  })

  test('is said when a backlog is kept beyond its age', () => {
    const { lines, reporter } = reporting()
    reporter.held(5.5)
    expect(lines).toMatchObject([['backlog.held', { failing_for_ms: 6 }]])
  })
})
