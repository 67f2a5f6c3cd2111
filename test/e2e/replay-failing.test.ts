import { describe, expect, it } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled, stateOf } from '../support/destinations.ts'
import { hang, type ReceivedRequest, type Reply } from '../support/receiver.ts'
import { eventIds, insertRange, insertReplay, ofReplay, replayed, replayState } from '../support/replays.ts'
import { createScene } from '../support/scene.ts'

const ids = (...rows: number[]) => rows.map((row) => `request:${row}`)
const isOfReplay = ({ headers }: ReceivedRequest) => headers['spillway-replay'] !== undefined

/** Answers replays in one way and the live stream with 200. */
const onlyReplays = (reply: (request: ReceivedRequest) => Reply) => ({
  choose: (request: ReceivedRequest): Reply => (isOfReplay(request) ? reply(request) : { status: 200 }),
})

async function delivered(rows = 12, delivery: Record<string, number> = {}, env: Record<string, string> = {}) {
  const scene = await createScene()
  const { url, sql, receiver, write } = scene
  const id = await insertDestination(sql, {
    url: receiver.url,
    org: 'acme',
    delivery: { batchSize: 4, ...delivery },
  })
  await write(rows)
  const daemon = await startDaemon(url, env)
  await settled(sql, id, 'acme')
  return { ...scene, id, daemon }
}

describe('an endpoint that fails a replay', () => {
  it('is tried again by the replay’s own back-off; the live stream goes on and its state stays', async () => {
    const { sql, receiver, write, id, daemon } = await delivered(
      12,
      {},
      { SPILLWAY_BACKOFF_SCHEDULE_MS: '700' },
    )
    receiver.always(onlyReplays(() => ({ status: 503, headers: { 'retry-after': '1' } })))
    const replay = await insertRange(sql, id, 0, 12)
    const failing = await replayed(sql, replay, ({ next_attempt_at }) => next_attempt_at !== null)
    expect(failing).toMatchObject({
      state: 'running',
      events_sent: '0',
      last_error: expect.stringContaining('503'),
    })
    expect(await daemon.logged('replay.backing_off')).toMatchObject({ replay_id: replay, outcome: 'retry' })
    await write(4)
    await settled(sql, id, 'acme')
    expect(await stateOf(sql, id)).toMatchObject({ status: 'active', consecutive_failures: 0 })
    receiver.always({ status: 200 })
    expect(await replayed(sql, replay)).toMatchObject({ state: 'done', events_sent: '12', last_error: null })
    const sent = ofReplay(receiver.requests, replay)
    // The batch that failed came again under its id.
    expect(new Set(sent.map(({ headers }) => headers['webhook-id'])).size).toBe(3)
  })

  it('ends the replay after its maximum backlog age', async () => {
    const { sql, receiver, id, daemon } = await delivered(
      4,
      { maxBacklogAgeMs: 1_500 },
      { SPILLWAY_BACKOFF_SCHEDULE_MS: '300' },
    )
    receiver.always(onlyReplays(() => ({ status: 401 })))
    const replay = await insertRange(sql, id, 0, 4)
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'failed',
      last_error: expect.stringMatching(/whole maxBacklogAgeMs .*unauthorized: .*401/),
    })
    expect(await daemon.logged('replay.failed')).toMatchObject({ level: 'warn', replay_id: replay })
    expect(await sql`SELECT FROM spillway.skipped_ranges`).toHaveLength(0)
    expect(await stateOf(sql, id)).toMatchObject({ status: 'active' })
  })

  it('is disabled when it answers 410, as by the live stream, and the replay fails', async () => {
    const { sql, receiver, id } = await delivered(4)
    receiver.always(onlyReplays(() => ({ status: 410 })))
    const replay = await insertRange(sql, id, 0, 4)
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'failed',
      last_error: expect.stringContaining('410'),
    })
    expect(await stateOf(sql, id)).toMatchObject({ status: 'disabled' })
  })

  it('is not called while the live stream backs off, and the time counts', async () => {
    const { sql, receiver, write, id, daemon } = await delivered(
      4,
      { maxBacklogAgeMs: 3_000 },
      { SPILLWAY_BACKOFF_SCHEDULE_MS: '60000' },
    )
    receiver.always({ status: 500 })
    await write(1)
    await daemon.logged('destination.backing_off')
    const requests = receiver.requests.length
    const replay = await insertRange(sql, id, 0, 4)
    await replayed(sql, replay, ({ last_error }) => last_error?.includes('500') === true)
    expect(await replayed(sql, replay)).toMatchObject({ state: 'failed', events_sent: '0' })
    expect(receiver.requests.length).toBe(requests)
  })
})

describe('events that are refused in a replay', () => {
  it('become dead letters, also ones that were resolved, and the rest arrives in order', async () => {
    const { sql, receiver, id, daemon } = await delivered(12)
    await sql`
      INSERT INTO spillway.dead_letters (destination_id, log_type, event_id, reason, resolved_at)
      VALUES (${id}, 'request', 'request:7', 'old', now()), (${id}, 'request', 'request:2', 'old', NULL)`
    receiver.always(
      onlyReplays((request) => ({ status: eventIds([request]).includes('request:7') ? 413 : 200 })),
    )
    const replay = await insertRange(sql, id, 0, 12)
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'done',
      events_sent: '11',
      events_refused: '1',
    })
    const taken = ofReplay(receiver.requests, replay).filter(
      (each) => !eventIds([each]).includes('request:7'),
    )
    expect(eventIds(taken)).toEqual(ids(1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12))
    expect(
      await sql`SELECT event_id, reason, resolved_at IS NULL AS open FROM spillway.dead_letters ORDER BY event_id`,
    ).toMatchObject([
      { event_id: 'request:2', open: false },
      { event_id: 'request:7', open: true, reason: expect.stringContaining('413') },
    ])
    expect(await daemon.logged('event.dead_lettered')).toMatchObject({ event_id: 'request:7' })
  })

  it('are none of them at fault when all of a batch are refused', async () => {
    const { sql, receiver, id } = await delivered(8)
    receiver.always(onlyReplays(() => ({ status: 400 })))
    const replay = await insertRange(sql, id, 0, 8)
    await replayed(sql, replay, ({ next_attempt_at }) => next_attempt_at !== null)
    expect(await sql`SELECT FROM spillway.dead_letters`).toHaveLength(0)
    expect(await sql`SELECT position, frozen FROM spillway.replay_ranges`).toMatchObject([
      { position: '0', frozen: ['4'] },
    ])
    receiver.always({ status: 200 })
    // An edit ends the replay's back-off too.
    await sql`UPDATE spillway.destinations SET name = 'mended' WHERE id = ${id}`
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'done',
      events_sent: '8',
      events_refused: '0',
    })
  })
})

describe('a replay under way', () => {
  const slow = { batchSize: 1, interBatchDelayMs: 400 }

  it('follows an edit of its destination from the next batch on', async () => {
    const { sql, receiver, id } = await delivered(12, slow)
    const replay = await insertRange(sql, id, 0, 12)
    await replayed(sql, replay, ({ events_sent }) => Number(events_sent) >= 2)
    await sql`UPDATE spillway.destinations SET delivery = '{"batchSize": 100}' WHERE id = ${id}`
    expect(await replayed(sql, replay)).toMatchObject({ state: 'done', events_sent: '12' })
    const sent = ofReplay(receiver.requests, replay)
    expect(sent.length).toBeLessThan(11)
    expect(eventIds(sent)).toEqual(ids(...Array.from({ length: 12 }, (_, index) => index + 1)))
  })

  it('waits while its destination is disabled or invalid', async () => {
    const { sql, id } = await delivered(6, slow)
    const replay = await insertRange(sql, id, 0, 6)
    await replayed(sql, replay, ({ events_sent }) => Number(events_sent) >= 1)
    await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${id}`
    await replayed(sql, replay, ({ last_error }) => last_error?.includes('disabled') === true)
    const { events_sent } = await replayState(sql, replay)
    await sql`UPDATE spillway.destinations SET enabled = true, config = '{}' WHERE id = ${id}`
    await replayed(sql, replay, ({ last_error }) => last_error?.includes('invalid') === true)
    expect(await replayState(sql, replay)).toMatchObject({ state: 'running', events_sent })
  })

  it('ends with its destination', async () => {
    const { sql, id, daemon } = await delivered(12, slow)
    const replay = await insertRange(sql, id, 0, 12)
    await replayed(sql, replay, ({ events_sent }) => Number(events_sent) >= 1)
    await sql`DELETE FROM spillway.destinations WHERE id = ${id}`
    expect(await replayState(sql, replay)).toMatchObject({
      state: 'failed',
      last_error: 'The destination was deleted.',
    })
    await daemon.logged('replay.failed')
    expect(await daemon.stop()).toBe(0)
  })

  it('is broken off when it is cancelled', async () => {
    const { sql, receiver, id, daemon } = await delivered(4)
    receiver.always(onlyReplays(() => hang))
    const replay = await insertRange(sql, id, 0, 4)
    while (ofReplay(receiver.requests, replay).length === 0)
      await receiver.received(receiver.requests.length + 1)
    await sql`UPDATE spillway.replays SET state = 'cancelled', finished_at = now() WHERE id = ${replay}`
    expect(await daemon.logged('replay.cancelled')).toMatchObject({ replay_id: replay, sent: 0 })
    expect(await daemon.stop()).toBe(0)
    expect(await replayState(sql, replay)).toMatchObject({ state: 'cancelled', events_sent: '0' })
  })

  it('fails when its source is pointed elsewhere: the positions mean other rows', async () => {
    const { sql, id } = await delivered(12, slow)
    await sql`CREATE TABLE public.other_log (LIKE spillway.request_audit_log INCLUDING ALL)`
    const replay = await insertRange(sql, id, 0, 12)
    await replayed(sql, replay, ({ events_sent }) => Number(events_sent) >= 1)
    await sql`UPDATE spillway.sources SET relation = 'public.other_log' WHERE log_type = 'request'`
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'failed',
      last_error: expect.stringContaining('pointed elsewhere or rebased'),
    })
  })

  it('counts rows that are deleted meanwhile as missing', async () => {
    const { sql, id } = await delivered(12, slow)
    const replay = await insertRange(sql, id, 0, 12)
    await replayed(sql, replay, ({ events_sent }) => Number(events_sent) >= 1)
    // The page that is being sent was read before.
    await sql`DELETE FROM spillway.request_audit_log WHERE id > 6`
    await sql`UPDATE spillway.destinations SET name = 'edited' WHERE id = ${id}`
    const { state, events_sent, events_missing } = await replayed(sql, replay)
    expect(state).toBe('done')
    expect(Number(events_sent) + Number(events_missing)).toBe(12)
    expect(Number(events_missing)).toBeGreaterThan(0)
  })
})

describe('a skipped range', () => {
  it('is marked as replayed when all of its events are sent', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ status: 500 })
    const delivery = { maxBacklogAgeMs: 1_000 }
    const id = await insertDestination(sql, { url: receiver.url, org: 'acme', delivery })
    const daemon = await startDaemon(url, { SPILLWAY_BACKOFF_SCHEDULE_MS: '300' })
    await write(9)
    await write(3, 'other')
    await daemon.logged('backlog.abandoned')
    receiver.always({ status: 200 })
    await write(1)
    await settled(sql, id, 'acme')
    const [range] = await sql`SELECT id::int AS id, event_count FROM spillway.skipped_ranges`
    expect(range?.event_count).toBe('9')
    const request = { destination_id: id, kind: 'skipped', skipped_id: range?.id }
    const replay = await insertReplay(sql, request)
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'done',
      events_expected: '9',
      events_sent: '9',
    })
    expect(eventIds(ofReplay(receiver.requests, replay))).toEqual(ids(1, 2, 3, 4, 5, 6, 7, 8, 9))
    expect(await sql`SELECT FROM spillway.skipped_ranges WHERE replayed_at IS NOT NULL`).toHaveLength(1)
    await expect(insertReplay(sql, request)).rejects.toThrow('was replayed already')
  })

  it('of which rows are gone is sent as far as it is there, and stays open', async () => {
    const { sql, id } = await delivered(6)
    const [range] = await sql`
      INSERT INTO spillway.skipped_ranges (destination_id, log_type, from_position, to_position, event_count, reason)
      VALUES (${id}, 'request', '0', '6', 6, 'backlog_expired') RETURNING id::int AS id`
    await sql`DELETE FROM spillway.request_audit_log WHERE id <= 2`
    const request = { destination_id: id, kind: 'skipped', skipped_id: range?.id }
    expect(await replayed(sql, await insertReplay(sql, request))).toMatchObject({
      state: 'done',
      events_expected: '6',
      events_sent: '4',
      events_missing: '2',
    })
    expect(await sql`SELECT FROM spillway.skipped_ranges WHERE replayed_at IS NOT NULL`).toHaveLength(0)
    await sql`DELETE FROM spillway.request_audit_log`
    expect(await replayed(sql, await insertReplay(sql, request))).toMatchObject({
      state: 'failed',
      last_error: expect.stringContaining('The rows are gone'),
    })
  })
})

it('dead letters whose rows are gone, or another org’s by now, are reported and stay', async () => {
  const { sql, receiver, id } = await delivered(4)
  await sql`
    INSERT INTO spillway.dead_letters (destination_id, log_type, event_id, reason)
    SELECT ${id}, 'request', 'request:' || n, 'http_status: refused' FROM generate_series(1, 4) n`
  await sql`
    INSERT INTO spillway.dead_letters (destination_id, log_type, event_id, reason)
    VALUES (${id}, 'request', 'request:no number', 'http_status: refused'), (${id}, 'request', 'request:9', 'duplicate_id: …')`
  await sql`DELETE FROM spillway.request_audit_log WHERE id = 2`
  await sql`UPDATE spillway.request_audit_log SET org_id = 'other' WHERE id = 3`
  const replay = await insertReplay(sql, { destination_id: id, kind: 'dead_letters' })
  expect(await replayed(sql, replay)).toMatchObject({
    state: 'done',
    events_expected: '5',
    events_sent: '2',
    events_missing: '3',
  })
  expect(eventIds(ofReplay(receiver.requests, replay))).toEqual(ids(1, 4))
  expect(
    await sql`SELECT event_id FROM spillway.dead_letters WHERE resolved_at IS NOT NULL ORDER BY id`,
  ).toEqual([{ event_id: 'request:1' }, { event_id: 'request:4' }])
})
