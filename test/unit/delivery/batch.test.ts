import { describe, expect, test } from 'vitest'
import { cutBatch } from '../../../src/delivery/batch.ts'
import { bodyOf, item, items, jsonArray, roomy, rules } from './items.ts'

describe('a batch', () => {
  test('ends at the destination’s batch size or the provider’s, whichever is lower', () => {
    const limits = { ...roomy, maxEvents: 3 }
    expect(cutBatch(items(9), 0, '0', undefined, rules({ batchSize: 5 }), 0)).toMatchObject({
      taken: 5,
      complete: true,
      batch: { from: '0', to: '5', positions: ['1', '2', '3', '4', '5'] },
    })
    expect(cutBatch(items(9), 2, '2', undefined, rules({ batchSize: 5, limits }), 0)).toMatchObject({
      taken: 3,
      batch: { from: '2', to: '5' },
    })
  })

  test('is not complete while more items could still come into it', () => {
    expect(cutBatch(items(4), 0, '0', undefined, rules({ batchSize: 5 }), 0)).toMatchObject({
      taken: 4,
      complete: false,
    })
    expect(cutBatch([], 0, '7', undefined, rules(), 0)).toMatchObject({
      taken: 0,
      complete: false,
      batch: { from: '7', to: '7', events: [] },
    })
  })

  test('fills the provider’s bytes to the last one, framing and UTF-8 counted', () => {
    const row = item(1, '"ä😀"') // 8 bytes in UTF-8
    const three = [row, { ...row, position: '2' }, { ...row, position: '3' }]
    const fits = cutBatch(three, 0, '0', undefined, rules({ limits: { ...roomy, maxBytes: 28 } }), 0)
    expect(fits).toMatchObject({ taken: 3, complete: false, batch: { bytes: 28 } })
    const over = cutBatch(three, 0, '0', undefined, rules({ limits: { ...roomy, maxBytes: 27 } }), 0)
    expect(over).toMatchObject({ taken: 2, complete: true, batch: { bytes: 19, to: '2' } })
    expect(Buffer.byteLength(bodyOf(fits.batch, jsonArray))).toBe(28)
  })

  test('reaches up to its frozen end, also where the last rows before it are gone', () => {
    expect(cutBatch(items(3), 0, '0', '9', rules(), 0).batch).toMatchObject({ from: '0', to: '9' })
    expect(cutBatch([], 0, '4', '9', rules(), 0).batch).toMatchObject({ from: '4', to: '9', events: [] })
  })

  test('takes nothing beyond its frozen end', () => {
    expect(cutBatch(items(9), 0, '0', '4', rules(), 0)).toMatchObject({
      taken: 4,
      complete: true,
      batch: { to: '4' },
    })
  })

  test('ends before its frozen end where a limit has become lower since', () => {
    expect(cutBatch(items(9), 0, '0', '8', rules({ batchSize: 3 }), 0)).toMatchObject({
      taken: 3,
      complete: true,
      batch: { to: '3' },
    })
  })

  test('covers a full batch’s frozen end although items that cannot be sent lie before it', () => {
    const frozen = [item(1), item(2), item(3, 'x'.repeat(50))]
    const limits = { ...roomy, maxEventBytes: 20 }
    expect(cutBatch(frozen, 0, '0', '3', rules({ batchSize: 2, limits }), 0)).toMatchObject({
      taken: 3,
      batch: { to: '3', positions: ['1', '2'], deadLetters: [{ position: '3' }] },
    })
  })
})

describe('events too old for the provider', () => {
  const limits = { ...roomy, maxEventAgeMs: 100 }
  const at = (position: number, timestampMs: number) => item(position, '{}', timestampMs)

  test('are skipped with their count, neighbours joined to one range', () => {
    const mixed = [at(2, 1), at(4, 2), at(5, 900), at(8, 3), at(9, 950)]
    const { batch, taken } = cutBatch(mixed, 0, '1', undefined, rules({ limits }), 1_000)
    expect(taken).toBe(5)
    expect(batch.positions).toEqual(['5', '9'])
    expect(batch.skipped).toEqual([
      { from: '1', to: '4', count: 2, reason: 'too_old_for_provider' },
      { from: '5', to: '8', count: 1, reason: 'too_old_for_provider' },
    ])
  })

  test('are those older than the limit, to the millisecond', () => {
    expect(cutBatch([at(1, 900)], 0, '0', undefined, rules({ limits }), 1_000).batch.skipped).toEqual([])
    expect(cutBatch([at(1, 899)], 0, '0', undefined, rules({ limits }), 1_000).batch.events).toEqual([])
  })

  test('are judged again when a batch is cut again at its frozen end', () => {
    const rows = [at(1, 900), at(2, 950), at(3, 900), at(4, 1_000)]
    const frozen = cutBatch(rows, 0, '0', undefined, rules({ limits }), 1_000).batch
    expect(frozen).toMatchObject({ to: '4', positions: ['1', '2', '3', '4'], skipped: [] })
    const later = cutBatch(rows, 0, '0', '4', rules({ limits }), 1_001).batch
    expect(later).toMatchObject({
      to: '4',
      positions: ['2', '4'],
      skipped: [
        { from: '0', to: '1', count: 1 },
        { from: '2', to: '3', count: 1 },
      ],
    })
    expect(later.id).not.toBe(frozen.id)
    const gone = cutBatch(rows, 0, '0', '4', rules({ limits }), 2_000).batch
    expect(gone).toMatchObject({ to: '4', events: [], skipped: [{ from: '0', to: '4', count: 4 }] })
  })

  test('are told from those that lie too far ahead, to the millisecond', () => {
    const both = { ...limits, maxEventAheadMs: 50 }
    const rows = [at(1, 1_051), at(2, 1_060), at(3, 1_050), at(4, 899), at(5, 1_051)]
    const { batch } = cutBatch(rows, 0, '0', undefined, rules({ limits: both }), 1_000)
    expect(batch.positions).toEqual(['3'])
    expect(batch.skipped).toEqual([
      { from: '0', to: '2', count: 2, reason: 'too_far_ahead_for_provider' },
      { from: '3', to: '4', count: 1, reason: 'too_old_for_provider' },
      { from: '4', to: '5', count: 1, reason: 'too_far_ahead_for_provider' },
    ])
  })

  test('are none where the provider has no limit', () => {
    const now = Number.MAX_SAFE_INTEGER
    expect(cutBatch([at(1, 0)], 0, '0', undefined, rules(), now).batch.events).toHaveLength(1)
  })
})

describe('events too large for the provider', () => {
  test('become dead letters, one by one, and leave the others in the batch', () => {
    const limits = { ...roomy, maxEventBytes: 10 }
    const mixed = [item(1, 'a'.repeat(11)), item(2, 'b'.repeat(10)), item(3, 'ä'.repeat(6))]
    const { batch } = cutBatch(mixed, 0, '0', undefined, rules({ limits }), 0)
    expect(batch.positions).toEqual(['2'])
    expect(batch.deadLetters).toMatchObject([
      { position: '1', eventId: 'request:1', code: 'event_too_large' },
      { position: '3', eventId: 'request:3', code: 'event_too_large' },
    ])
    expect(batch.deadLetters[0]?.message).toContain('11 bytes')
  })

  test('are also those that do not fit a body of their own', () => {
    const limits = { ...roomy, maxBytes: 12 }
    const two = [item(1, 'a'.repeat(10)), item(2, 'b'.repeat(11))]
    const { batch } = cutBatch(two, 0, '0', undefined, rules({ limits }), 0)
    expect(batch).toMatchObject({ positions: ['1'], bytes: 12, deadLetters: [{ position: '2' }] })
  })
})

describe('a batch’s id', () => {
  const one = items(3)
  const id = (changes: Parameters<typeof rules>[0] = {}, from = '0', bound = '3', rows = one) =>
    cutBatch(rows, 0, from, bound, rules(changes), 0).batch.id

  test('is the same for the same bounds and content, and holds no dot', () => {
    expect(id()).toBe(id())
    expect(id()).toMatch(/^batch_[0-9a-f]{40}$/)
    expect(id({ batchSize: 77, limits: { ...roomy, maxEvents: 55 } })).toBe(id())
  })

  test.each([
    ['destination', id({ destinationId: 2 })],
    ['log type', id({ logType: 'action' })],
    ['replay', id({ replayId: '7' })],
    ['start', id({}, '-1')],
    ['end', id({}, '0', '4')],
    ['prefix', id({ framing: { ...jsonArray, prefix: '[ ' } })],
    ['separator', id({ framing: { ...jsonArray, separator: ', ' } })],
    ['suffix', id({ framing: { ...jsonArray, suffix: ' ]' } })],
    ['compression', id({ framing: { ...jsonArray, gzip: true } })],
    ['way of sending', id({ framing: { ...jsonArray, onePerRequest: true } })],
    ['content', id({}, '0', '3', [item(1), item(2), item(3, '{}')])],
  ])('differs with the %s', (_, other) => {
    expect(other).not.toBe(id())
  })

  test('differs where a line break moves from between two events into one', () => {
    const split = id({}, '0', '3', [item(1, 'a'), item(3, 'b')])
    expect(id({}, '0', '3', [item(3, 'a\nb')])).not.toBe(split)
    expect(id({}, '0', '3', [item(3, 'a\n1\nb')])).not.toBe(split)
  })

  test('of an event on its own does not depend on the batch around it', () => {
    const { batch } = cutBatch(one, 0, '0', undefined, rules(), 0)
    const rest = cutBatch(one, 1, '1', undefined, rules(), 0).batch
    expect(batch.eventBatchId(1)).toBe(rest.eventBatchId(0))
    expect(batch.eventBatchId(0)).not.toBe(batch.eventBatchId(1))
    expect(() => batch.eventBatchId(3)).toThrow(RangeError)
  })
})

describe('rows that share an id', () => {
  const twice = [item(1), item(2), { ...item(2), isDuplicate: true as const }, item(3)]

  test('are one event, and the others dead letters of the same batch, also of a full one', () => {
    const { batch, taken } = cutBatch(twice, 0, '0', undefined, rules({ batchSize: 2 }), 0)
    expect(batch.events.map(({ id }) => id)).toEqual(['request:1', 'request:2'])
    expect(batch.deadLetters).toMatchObject([{ position: '2', eventId: 'request:2', code: 'duplicate_id' }])
    expect({ taken, to: batch.to }).toEqual({ taken: 3, to: '2' })
  })

  test('are left beyond a frozen end together', () => {
    const { batch, taken } = cutBatch(twice, 0, '0', '1', rules(), 0)
    expect({ taken, to: batch.to, dead: batch.deadLetters }).toEqual({ taken: 1, to: '1', dead: [] })
  })
})
