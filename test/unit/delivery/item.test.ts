import { expect, test } from 'vitest'
import { itemOf } from '../../../src/delivery/item.ts'
import { roomy } from './items.ts'

const event = {
  id: 'request:7',
  logType: 'request',
  timestamp: '',
  timestampMs: 1_500,
  orgId: null,
  dataJson: '',
}

test.each([
  [{ ...roomy, maxEventAgeMs: 1 }, 1_500],
  [{ ...roomy, maxEventAheadMs: 1 }, 1_500],
  [roomy, undefined],
])('an item keeps its time where the receiver judges age: %j', (limits, timestampMs) => {
  expect(itemOf({ position: '7', event }, () => '{"ä":1}', 0, limits)).toEqual({
    kind: 'event',
    position: '7',
    id: 'request:7',
    body: Buffer.from('{"ä":1}'),
    bytes: 8,
    timestampMs,
  })
})

test('a row that was left in the database has its size and no body', () => {
  const { body, bytes } = itemOf({ position: '7', event, oversizeBytes: 9_000 }, () => 'x', 0, roomy)
  expect([body.length, bytes]).toEqual([0, 9_000])
})
