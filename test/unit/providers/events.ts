import fc from 'fast-check'
import type { AuditEvent } from '../../../providers/provider.ts'

/** The same cases in every run, so that a failure is a change's own. */
export const runs = { seed: 20_260_301, numRuns: 500 }

export function eventWith(data: unknown, changes: Partial<AuditEvent> = {}): AuditEvent {
  return {
    id: 'action:1',
    logType: 'action',
    timestamp: '2026-03-01T12:00:00.123456Z',
    timestampMs: 1_772_366_400_123,
    orgId: 'acme',
    dataJson: JSON.stringify(data),
    ...changes,
  }
}

/** Text that someone would choose to break a document with, beside any other. */
const hostileText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom('"', '\\', '\\"', '"}', '"}]', '",“x":"', '\n', '\r\n', '\u2028', '\u0000', '😀', '\ud800'),
  fc.constantFrom('{{id}}', '{{data}}', '{{data.b}}', '}}{{', '{"a":1}', 'null', '__proto__'),
)

/** Any row, with hostile names and values at any depth. */
export const row = fc.dictionary(
  fc.oneof(fc.constantFrom('a', 'b', 'c'), hostileText),
  fc.oneof(hostileText, fc.jsonValue({ maxDepth: 4 }), fc.dictionary(hostileText, hostileText)),
)

export const anyEvent: fc.Arbitrary<AuditEvent> = fc
  .record({
    id: hostileText,
    logType: hostileText,
    orgId: fc.option(hostileText),
    data: row,
    pretty: fc.boolean(),
  })
  .map(({ id, logType, orgId, data, pretty }) =>
    eventWith(data, { id, logType, orgId, dataJson: JSON.stringify(data, null, pretty ? 2 : 0) }),
  )
