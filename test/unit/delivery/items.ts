/** Items to cut batches of. */
import fc from 'fast-check'
import type { Framing, Limits } from '../../../providers/provider.ts'
import type { Batch, CutRules } from '../../../src/delivery/batch.ts'
import type { EventItem } from '../../../src/delivery/item.ts'

export const runs = { seed: 20_261_122, numRuns: 500 }

export const roomy: Limits = { maxEvents: 1_000, maxBytes: 1_000_000, maxEventBytes: 1_000_000 }
export const jsonArray: Framing = { prefix: '[', separator: ',', suffix: ']', gzip: false }

export function rules(changes: Partial<CutRules> = {}): CutRules {
  return {
    destinationId: 1,
    logType: 'request',
    limits: roomy,
    framing: jsonArray,
    batchSize: 100,
    ...changes,
  }
}

export function item(position: number | string, text = `{"n":${position}}`, timestampMs = 0): EventItem {
  const body = Buffer.from(text)
  return {
    kind: 'event',
    position: String(position),
    id: `request:${position}`,
    body,
    bytes: body.length,
    timestampMs,
  }
}

/** Positions 1 to `count`. */
export function items(count: number): EventItem[] {
  return Array.from({ length: count }, (_, index) => item(index + 1))
}

/** What a sender makes of a batch. */
export function bodyOf(batch: Batch, { prefix, separator, suffix }: Framing): string {
  return prefix + batch.events.map(({ body }) => Buffer.from(body).toString()).join(separator) + suffix
}

/** Items by rising position, some old, some large, with gaps and any characters. */
export const anyItems: fc.Arbitrary<EventItem[]> = fc
  .array(
    fc.record({
      gap: fc.integer({ min: 1, max: 5 }),
      body: fc.oneof(fc.string({ unit: 'binary', maxLength: 12 }), fc.constant('x'.repeat(200))),
      timestampMs: fc.constantFrom(0, 1_000, 2_000, 3_000),
    }),
    { maxLength: 40 },
  )
  .map((rows) => {
    let position = 0
    return rows.map(({ gap, body, timestampMs }) => {
      position += gap
      return item(position, body, timestampMs)
    })
  })

export const anyRules: fc.Arbitrary<CutRules> = fc
  .record({
    batchSize: fc.integer({ min: 1, max: 12 }),
    maxEvents: fc.integer({ min: 1, max: 12 }),
    maxBytes: fc.integer({ min: 10, max: 300 }),
    maxEventBytes: fc.integer({ min: 1, max: 250 }),
    maxEventAgeMs: fc.option(fc.constant(1_500), { nil: undefined }),
    maxEventAheadMs: fc.option(fc.constant(500), { nil: undefined }),
    prefix: fc.constantFrom('', '[', '{"events":['),
    separator: fc.constantFrom(',', '\n', ''),
    suffix: fc.constantFrom('', ']', '\n'),
  })
  .map(({ batchSize, prefix, separator, suffix, maxEventAgeMs, maxEventAheadMs, ...limits }) =>
    rules({
      batchSize,
      limits: {
        ...limits,
        ...(maxEventAgeMs === undefined ? {} : { maxEventAgeMs }),
        ...(maxEventAheadMs === undefined ? {} : { maxEventAheadMs }),
      },
      framing: { prefix, separator, suffix, gzip: false },
    }),
  )
