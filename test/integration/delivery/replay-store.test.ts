import { beforeEach, describe, expect, test } from 'vitest'
import type { DeadLetter } from '../../../src/delivery/batch.ts'
import { FleetStore } from '../../../src/delivery/fleet-store.ts'
import type { Lease } from '../../../src/delivery/lease.ts'
import { type RangeMove, ReplayStore } from '../../../src/delivery/replay-store.ts'
import { holdLeaseOf } from '../../support/leases.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { insertReplay } from '../../support/replays.ts'
import { makeSource, type OwnSource } from '../schema/rows.ts'

const database = await createTestDatabase()
const { sql } = database
const fleet = new FleetStore(sql)
let lease: Lease
let store: ReplayStore
let source: OwnSource
let id: number

beforeEach(async () => {
  source = await makeSource(database)
  id = await source.destination()
  lease = await holdLeaseOf(sql, id)
  store = new ReplayStore(sql, lease)
})

async function lifeOf(): Promise<string> {
  const [row] = await sql<
    { life: string }[]
  >`SELECT life::text AS life FROM spillway.sources WHERE log_type = ${source.logType}`
  return row?.life ?? ''
}

/** A replay that has begun, of the whole of the source. */
async function begun(): Promise<RangeMove> {
  const life = await lifeOf()
  const range = { logType: source.logType, life, from: '0', to: '10' }
  const row = { log_type: source.logType, from_position: '0', to_position: '10' }
  const replayId = await insertReplay(sql, { destination_id: id, kind: 'range', ...row })
  await store.begin(replayId, [range], 10)
  const { logType } = source
  const nothing = { frozen: [], divided: undefined, accepted: [], deadLetters: [], tooOld: 0 }
  return { replayId, destinationId: id, logType, life, from: '0', fromFrozen: [], to: '10', ...nothing }
}

async function liveMove(deadLetters: readonly DeadLetter[]): Promise<void> {
  const { logType } = source
  const life = (await fleet.load([id])).get(id)?.cursors.get(logType)?.life ?? ''
  const nothing = { fromFrozen: [], frozen: [], divided: undefined, skipped: [], durable: false }
  await fleet.under(lease).move({
    ...nothing,
    destinationId: id,
    logType,
    life,
    from: '0',
    to: '10',
    deadLetters,
    accepted: 0,
  })
}

const letter = (code: DeadLetter['code']): DeadLetter => ({
  position: '7',
  eventId: `${source.logType}:7`,
  code,
  message: 'no',
})

const letters = () =>
  sql<
    { reason: string; life: string; open: boolean }[]
  >`SELECT reason, life::text AS life, resolved_at IS NULL AS open FROM spillway.dead_letters WHERE destination_id = ${id}`

async function beginAnotherLife(): Promise<void> {
  await sql`UPDATE spillway.sources SET life = gen_random_uuid() WHERE log_type = ${source.logType}`
}

describe('a dead letter of a former life of its source', () => {
  test('belongs to the present one when the live stream has its id refused again', async () => {
    await liveMove([letter('http_status')])
    await beginAnotherLife()
    await sql`UPDATE spillway.cursors SET position = '0' WHERE destination_id = ${id}`
    await liveMove([letter('http_status')])
    expect(await letters()).toMatchObject([{ life: await lifeOf(), open: true }])
  })

  test('is not resolved by another row that has its id now', async () => {
    await liveMove([letter('http_status')])
    await beginAnotherLife()
    await store.move({ ...(await begun()), accepted: [`${source.logType}:7`] })
    expect(await letters()).toMatchObject([{ open: true }])
  })
})

describe('of an event that was refused, and another row with its id, the refusal is on record', () => {
  const both = () => [letter('duplicate_id'), letter('http_status'), letter('duplicate_id')]

  test('by the live stream', async () => {
    await liveMove(both())
    expect(await letters()).toMatchObject([{ reason: 'http_status: no' }])
  })

  test('by a replay', async () => {
    await store.move({ ...(await begun()), deadLetters: both() })
    expect(await letters()).toMatchObject([{ reason: 'http_status: no' }])
  })
})

test('a skipped range is replayed by a replay of it and by no other', async () => {
  const [range] = await sql<{ id: string }[]>`
    INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
    VALUES (${id}, ${source.logType}, '0', '9', 9, 'backlog_expired') RETURNING id`
  const skippedId = range?.id ?? ''
  const { replayId } = await begun()
  await sql`UPDATE spillway.replays SET skipped_id = ${skippedId}, events_sent = 10 WHERE id = ${replayId}`
  await store.finish(replayId)
  const replayed = () => sql`SELECT replayed_at FROM spillway.skipped_ranges WHERE id = ${skippedId}`
  expect(await replayed()).toEqual([{ replayed_at: null }])
})
