import { expect, test } from 'vitest'
import { findStart } from '../../../src/delivery/start.ts'

const createdAt = Date.parse('2026-05-01T12:00:00Z')
const minuteMs = 60_000
/** A row a second, numbered by the seconds since the destination was created, from a thousand on. */
const reader = {
  beginning: async () => '0',
  before: async (instant: string) => String(1_000 + (Date.parse(instant) - createdAt) / 1_000),
}
const now = { startFrom: { kind: 'now' }, createdAt } as const

test('what a destination waited for since it came begins when it came, however much others have read since', async () => {
  const floor = { position: '1600', savedAt: createdAt + 10 * minuteMs, life: 0 }
  expect(await findStart({ ...now, isNew: true }, reader, '1600', floor)).toBe('940')
})

test('a log type that came by an edit does not begin with the destination', async () => {
  const floor = { position: '1600', savedAt: createdAt + 10 * minuteMs, life: 0 }
  expect(await findStart({ ...now, isNew: false }, reader, '1600', floor)).toBe('1540')
})

test('what an earlier run had read, and not more, lies before a destination that came after it', async () => {
  const floor = { position: '500', savedAt: createdAt - 8 * minuteMs, life: 0 }
  expect(await findStart({ ...now, isNew: true }, reader, '1600', floor)).toBe('460')
})
