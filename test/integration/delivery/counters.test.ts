import { beforeEach, describe, expect, test } from 'vitest'
import { cutBatch, type DeadLetter, type SkippedRange } from '../../../src/delivery/batch.ts'
import type { CursorMove } from '../../../src/delivery/cursor-move.ts'
import { FleetStore } from '../../../src/delivery/fleet-store.ts'
import type { Lease } from '../../../src/delivery/lease.ts'
import { settlementOf } from '../../../src/delivery/settlement.ts'
import type { DeliveryStore } from '../../../src/delivery/store.ts'
import { holdLeaseOf } from '../../support/leases.ts'
import { cursorMove } from '../../support/moves.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { item, rules } from '../../unit/delivery/items.ts'
import { makeSource, type OwnSource, stateOf } from '../schema/rows.ts'

const database = await createTestDatabase()
const { sql } = database
const fleet = new FleetStore(sql)
let lease: Lease
let store: DeliveryStore
let source: OwnSource
let id: number
let life: string

beforeEach(async () => {
  source = await makeSource(database)
  id = await source.destination()
  lease = await holdLeaseOf(sql, id)
  store = fleet.under(lease)
  life = (await fleet.load([id])).get(id)?.cursors.get(source.logType)?.life ?? ''
})

const move = (changes: Partial<CursorMove>) =>
  cursorMove({ destinationId: id, logType: source.logType, life }, changes)

const counters = async () => {
  const row = await stateOf(sql, id)
  return [row?.events_delivered, row?.events_skipped, row?.events_dead_lettered, row?.batches_delivered].map(
    Number,
  )
}

const range = (count: number | undefined): SkippedRange => ({ from: '0', to: '5', count, reason: 'test' })
const letter = (eventId: string): DeadLetter => ({
  position: '6',
  eventId,
  code: 'event_too_large',
  message: 'too large',
})

describe('the write that moves a cursor counts', () => {
  test('what was delivered, skipped and dead-lettered, over several batches', async () => {
    await store.move(move({ accepted: 7, skipped: [range(2)], deadLetters: [letter('a')] }))
    await store.move(move({ from: '10', to: '13', accepted: 3 }))
    expect(await counters()).toEqual([10, 2, 1, 2])
  })

  test('what was not delivered of a batch of which nothing was, and the destination is none the better for it', async () => {
    await sql`
      UPDATE spillway.delivery_state SET status = 'backing_off', consecutive_failures = 3 WHERE destination_id = ${id}`
    await store.move(move({ skipped: [range(4), range(undefined)], deadLetters: [letter('a'), letter('b')] }))
    expect(await counters()).toEqual([0, 4, 2, 0])
    expect(await stateOf(sql, id)).toMatchObject({
      status: 'backing_off',
      consecutive_failures: 3,
      last_success_at: null,
    })
  })

  test('nothing twice when it is repeated, because its answer was lost', async () => {
    const settling = move({ accepted: 7, skipped: [range(2)], deadLetters: [letter('a')] })
    await store.move(settling)
    await store.move(settling)
    expect(await counters()).toEqual([7, 2, 1, 1])
  })

  test('nothing when the cursor is somewhere else', async () => {
    await expect(store.move(move({ from: '4', accepted: 7 }))).rejects.toThrow('stands at 0')
    expect(await counters()).toEqual([0, 0, 0, 0])
  })

  test('nothing when it freezes only', async () => {
    const [before] = await sql`SELECT xmin::text FROM spillway.delivery_state WHERE destination_id = ${id}`
    await store.move(move({ to: '0', frozen: ['10'] }))
    const [after] = await sql`SELECT xmin::text FROM spillway.delivery_state WHERE destination_id = ${id}`
    expect(after).toEqual(before)
  })
})

test('figures of a lag that are there already are not written again', async () => {
  const lag = { destinationId: id, events: 12, seconds: 3.5 }
  await fleet.saveLags([lag], [lease])
  expect(await stateOf(sql, id)).toMatchObject({
    lag_events: '12',
    lag_seconds: 3.5,
    lag_at: expect.any(Date),
  })
  const [before] = await sql`SELECT xmin::text FROM spillway.delivery_state WHERE destination_id = ${id}`
  await fleet.saveLags([lag, { destinationId: 999_999, events: 1, seconds: 1 }], [lease])
  const [after] = await sql`SELECT xmin::text FROM spillway.delivery_state WHERE destination_id = ${id}`
  expect(after).toEqual(before)
  await fleet.saveLags([{ destinationId: id, events: null, seconds: null }], [lease])
  expect(await stateOf(sql, id)).toMatchObject({ lag_events: null, lag_seconds: null })
})

test('an event that was refused, and of whose id there is another row, is on record with its refusal', async () => {
  const rows = [item(1), { ...item(1), isDuplicate: true as const }, item(2)]
  const { batch } = cutBatch(rows, 0, '0', '2', rules(), 0)
  const refusal = { code: 'http_status', status: 422, message: 'Refused.' } as const
  await store.move(move({ ...settlementOf(batch, [{ index: 0, reason: refusal }]) }))
  expect(
    await sql`SELECT event_id, status, reason FROM spillway.dead_letters WHERE destination_id = ${id}`,
  ).toEqual([{ event_id: 'request:1', status: 422, reason: 'http_status: Refused.' }])
})
