import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Reason } from '../../../providers/provider.ts'
import { cutBatch } from '../../../src/delivery/batch.ts'
import { joinSettlements, settlementOf } from '../../../src/delivery/settlement.ts'
import { anyItems, anyRules, item, roomy, rules, runs } from './items.ts'

const reason: Reason = { code: 'http_status', status: 400, message: 'The receiver answered 400 Bad Request.' }

describe('settling', () => {
  const limits = { ...roomy, maxEventBytes: 20, maxEventAgeMs: 100 }
  const large = 'x'.repeat(21)
  const mixed = [
    item(1, '{}', 0),
    item(3, '{}', 950),
    item(4, large, 950),
    item(6, '{}', 950),
    item(7, '{}', 1),
    item(9, '{}', 950),
    item(11, large, 950),
  ]
  const { batch } = cutBatch(mixed, 0, '0', '12', rules({ limits }), 1_000)

  test('a batch goes to its frozen end with everything that was not delivered', () => {
    expect(settlementOf(batch, [])).toEqual({
      to: '12',
      accepted: 3,
      skipped: batch.skipped,
      deadLetters: batch.deadLetters,
    })
    expect(batch.skipped).toHaveLength(2)
    expect(batch.deadLetters).toHaveLength(2)
  })

  test('a part goes to its last event and records only what lies before it', () => {
    expect(settlementOf(batch.part(0, 2), [])).toMatchObject({
      to: '6',
      accepted: 2,
      skipped: [{ from: '0', to: '1' }],
      deadLetters: [{ position: '4' }],
    })
    expect(settlementOf(batch.part(0, 1), [])).toMatchObject({
      to: '3',
      skipped: [{ to: '1' }],
      deadLetters: [],
    })
  })

  test('counts refused events as dead letters, with the receiver’s reason, and not as accepted', () => {
    const settlement = settlementOf(batch, [{ index: 1, reason }])
    expect(settlement.accepted).toBe(2)
    expect(settlement.deadLetters).toContainEqual({
      position: '6',
      eventId: 'request:6',
      code: 'http_status',
      status: 400,
      message: reason.message,
    })
  })

  test('a batch without events settles what it covers', () => {
    const old = cutBatch([item(2, '{}', 0)], 0, '0', '5', rules({ limits }), 1_000).batch
    expect(settlementOf(old, [])).toEqual({ to: '5', accepted: 0, skipped: old.skipped, deadLetters: [] })
  })
})

test('the parts of a batch, cut anywhere, record everything exactly once and are what a restart cuts', () => {
  fc.assert(
    fc.property(anyItems, anyRules, fc.nat(), (rows, cutRules, at) => {
      const { batch } = cutBatch(rows, 0, '0', undefined, cutRules, 2_000)
      if (batch.events.length < 2) return
      const count = 1 + (at % (batch.events.length - 1))
      const [first, last] = [batch.part(0, count), batch.part(count, batch.events.length)]
      const settled = joinSettlements(settlementOf(first, []), settlementOf(last, []))
      expect(settled).toEqual(settlementOf(batch, []))
      // Read again from the cursor, up to the frozen ends.
      const again = cutBatch(rows, 0, '0', first.to, cutRules, 2_000)
      const rest = cutBatch(rows, again.taken, first.to, batch.to, cutRules, 2_000)
      expect([again.batch.id, rest.batch.id]).toEqual([first.id, last.id])
      expect([again.batch.bytes, rest.batch.bytes]).toEqual([first.bytes, last.bytes])
    }),
    runs,
  )
})
