/** What a provider brings to the conformance suite, and the events that all of them are given. */
import type { AuditEvent, Configured, EncodedBatch, Outcome, SenderDeps } from '../../providers/provider.ts'
import { openVault } from '../../src/destinations/secrets.ts'
import type { ReceivedRequest, Reply } from '../support/receiver.ts'

export interface Fixture {
  /** A provider may come several times, once for each form its requests can take. */
  readonly name: string
  readonly type: string
  /** The destination's config, pointed at `url`; every credential in it is one of `secrets`. */
  config(url: string): Record<string, unknown>
  readonly secrets: readonly string[]
  /** Answers a request as the vendor does, well or badly. */
  honest(request: ReceivedRequest): Reply
  /** The ids of the events that one request carried, in order, read as the vendor would. */
  eventIds(request: ReceivedRequest): string[]
  /** 2xx answers that do not mean delivery, and what they come to. */
  readonly falseYes: readonly { readonly reply: Reply; readonly kind: Outcome['kind'] }[]
}

/** For configs whose secrets are in plain text. */
export const plain = openVault({ secretKeys: [], secretVariables: new Map() }).of(1)

/** 2026-03-01T12:00:00Z */
export const now = 1_772_366_400_000

export function event(row: number, data: Record<string, unknown> = {}): AuditEvent {
  return {
    id: `action:${row}`,
    logType: 'action',
    timestamp: '2026-03-01T11:59:58.123456Z',
    timestampMs: now - 1_877,
    orgId: 'acme',
    dataJson: JSON.stringify({ id: row, actor: 'alice', action: 'user.login', ...data }),
  }
}

/** Content that has broken forwarders before. */
export const hostileEvents: readonly AuditEvent[] = [
  event(1, { note: 'line\nbreak\r\n and "quotes" \\ \u2028 {{id}} 😀' }),
  event(2, { note: '"}],[{"id":"action:999"}' }),
  { ...event(3), orgId: null, dataJson: '{\n  "a": 12345678901234567890.123,\r\n  "b": [1, 2]\n}' },
]

export function batchOf(
  configured: Configured,
  events: readonly AuditEvent[],
  replayId?: string,
): EncodedBatch {
  return {
    replayId,
    id: 'batch_5f0c',
    logType: 'action',
    events: events.map((one) => {
      const body = Buffer.from(configured.encode(one, now))
      return { id: one.id, body, bytes: body.length }
    }),
    eventBatchId: (index) => `batch_5f0c_${index}`,
  }
}

/** The body's size by the daemon's arithmetic. */
export function framedBytes(configured: Configured, batch: EncodedBatch): number {
  const { prefix, separator, suffix } = configured.framing
  const events = batch.events.reduce((sum, one) => sum + one.bytes, 0)
  return (
    events + Buffer.byteLength(separator) * (batch.events.length - 1) + Buffer.byteLength(prefix + suffix)
  )
}

export function deps(http: SenderDeps['http'], requestTimeoutMs = 5_000): SenderDeps {
  return { http, now: () => now, requestTimeoutMs }
}
