import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HeldItems } from '../../../src/delivery/held-items.ts'
import { heldBytes, type Item } from '../../../src/delivery/item.ts'
import { anyItems, runs } from './items.ts'

/** The same, by asking every item every time. */
class Plain {
  items: Item[] = []
  next = 0

  drop(position: number): void {
    while (this.next > 0 && Number(this.items[0]?.position) <= position) {
      this.items.shift()
      this.next -= 1
    }
  }

  get bytes(): number {
    return this.items.reduce((sum, item) => sum + heldBytes(item), 0)
  }
}

const step = fc.oneof(
  fc.record({ do: fc.constant('add' as const), count: fc.integer({ min: 0, max: 9 }) }),
  fc.record({ do: fc.constant('hand out' as const), count: fc.integer({ min: 0, max: 9 }) }),
  fc.record({ do: fc.constant('drop' as const), count: fc.integer({ min: 0, max: 120 }) }),
)

test('items are handed out in their order, and forgotten when they are settled and not before', () => {
  fc.assert(
    fc.property(anyItems, fc.array(step, { maxLength: 30 }), (items, steps) => {
      const [held, plain] = [new HeldItems(), new Plain()]
      const coming: Item[] = [...items]
      for (const { do: what, count } of steps) {
        if (what === 'add') {
          const added = coming.splice(0, count)
          expect(held.add(added)).toBe(added.reduce((sum, item) => sum + heldBytes(item), 0))
          plain.items.push(...added)
        } else if (what === 'hand out') {
          const out = Math.min(count, plain.items.length - plain.next)
          held.handOut(out)
          plain.next += out
        } else {
          held.drop(String(count))
          plain.drop(count)
          expect(held.firstAfter(String(count))).toBe(
            plain.items.find(({ position }) => Number(position) > count)?.position,
          )
        }
        expect([held.items, held.next, held.bytes, held.areAllHandedOut]).toEqual([
          plain.items,
          plain.next,
          plain.bytes,
          plain.next === plain.items.length,
        ])
      }
      held.clear()
      expect([held.items, held.next, held.bytes, held.areAllHandedOut]).toEqual([[], 0, 0, true])
    }),
    runs,
  )
})
