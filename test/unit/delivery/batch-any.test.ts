import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Cut, cutBatch } from '../../../src/delivery/batch.ts'
import { anyItems, anyRules, bodyOf, item, rules, runs } from './items.ts'

describe('for any items, limits and frozen ends', () => {
  /** Cuts as a stream does: batch after batch until all items are covered. */
  function cutAll(
    rows: Parameters<typeof cutBatch>[0],
    cutRules: ReturnType<typeof rules>,
    bounds: string[],
  ) {
    const cuts: Cut[] = []
    const left = [...bounds]
    let next = 0
    let from = '0'
    while (next < rows.length || left.length > 0) {
      const bound = left[0]
      const cut = cutBatch(rows, next, from, bound, cutRules, 2_000)
      cuts.push(cut)
      next += cut.taken
      if (bound !== undefined && Number(cut.batch.to) >= Number(bound)) left.shift()
      from = cut.batch.to
      if (cuts.length > 200) throw new Error('makes no headway')
    }
    return cuts
  }
  const anyBounds = fc
    .uniqueArray(fc.integer({ min: 1, max: 100 }), { maxLength: 6 })
    .map((ends) => ends.sort((a, b) => a - b).map(String))

  test('every item has exactly one fate, in order, and batches join without a gap', () => {
    fc.assert(
      fc.property(anyItems, anyRules, anyBounds, (rows, cutRules, bounds) => {
        const cuts = cutAll(rows, cutRules, bounds)
        const skippedCount = cuts
          .flatMap(({ batch }) => batch.skipped)
          .reduce((sum, { count }) => sum + (count ?? 0), 0)
        const sent = cuts.flatMap(({ batch }) => batch.positions)
        const dead = cuts.flatMap(({ batch }) => batch.deadLetters.map(({ position }) => position))
        const named = new Set([...sent, ...dead])
        const inSkipped = rows.filter(({ position }) =>
          cuts.some(({ batch }) =>
            batch.skipped.some(
              ({ from, to }) => Number(from) < Number(position) && Number(position) <= Number(to),
            ),
          ),
        )
        expect(sent).toEqual(sent.toSorted((a, b) => Number(a) - Number(b)))
        expect(named.size).toBe(sent.length + dead.length)
        expect(inSkipped).toHaveLength(skippedCount)
        expect(inSkipped.some(({ position }) => named.has(position))).toBe(false)
        expect(named.size + skippedCount).toBe(rows.length)
        for (const [index, { batch }] of cuts.entries()) {
          expect(batch.from).toBe(cuts[index - 1]?.batch.to ?? '0')
        }
      }),
      runs,
    )
  })

  test('a body is as long as the batch says and within the provider’s limits', () => {
    fc.assert(
      fc.property(anyItems, anyRules, anyBounds, (rows, cutRules, bounds) => {
        for (const { batch } of cutAll(rows, cutRules, bounds)) {
          expect(Buffer.byteLength(bodyOf(batch, cutRules.framing))).toBe(batch.bytes)
          expect(batch.events.length).toBeLessThanOrEqual(
            Math.min(cutRules.batchSize, cutRules.limits.maxEvents),
          )
          if (batch.events.length > 0) expect(batch.bytes).toBeLessThanOrEqual(cutRules.limits.maxBytes)
        }
      }),
      runs,
    )
  })

  test('a batch that is cut again at its frozen end, whatever was read beyond, is the same', () => {
    fc.assert(
      fc.property(anyItems, anyRules, fc.nat(), (rows, cutRules, cutOff) => {
        const read = rows.slice(0, cutOff % (rows.length + 1))
        const { batch } = cutBatch(read, 0, '0', undefined, cutRules, 2_000)
        if (batch.to === '0') return
        const again = cutBatch(rows, 0, '0', batch.to, cutRules, 2_000).batch
        expect(again.to).toBe(batch.to)
        expect(again.id).toBe(batch.id)
        expect(again.skipped).toEqual(batch.skipped)
        expect(again.deadLetters).toEqual(batch.deadLetters)
      }),
      runs,
    )
  })

  test('ids are equal exactly where bounds and bytes are', () => {
    const small = fc.array(fc.constantFrom('a', 'b', 'a\nb', '1\na', ''), { minLength: 1, maxLength: 3 })
    fc.assert(
      fc.property(small, small, fc.constantFrom('3', '4'), (one, other, bound) => {
        const cut = (bodies: string[], end: string) =>
          cutBatch(
            bodies.map((body, index) => item(index + 1, body)),
            0,
            '0',
            end,
            rules(),
            0,
          ).batch
        const first = cut(one, '3')
        const second = cut(other, bound)
        const same = first.to === second.to && JSON.stringify(one) === JSON.stringify(other)
        expect(first.id === second.id).toBe(same)
      }),
      runs,
    )
  })
})
