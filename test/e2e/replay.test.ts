import { describe, expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { eventIds, insertRange, insertReplay, ofLive, ofReplay, replayed } from '../support/replays.ts'
import { createScene } from '../support/scene.ts'

const ids = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => `request:${from + index}`)

const cursorOf = (sql: Awaited<ReturnType<typeof createScene>>['sql'], id: number) =>
  sql`SELECT log_type, position, frozen, life FROM spillway.cursors WHERE destination_id = ${id}`

describe('a range that is replayed', () => {
  it('is sent in order with the events’ ids, marked and under ids of its own, and moves no cursor', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url, org: 'acme', delivery: { batchSize: 10 } })
    await write(60)
    await write(10, 'other')
    const daemon = await startDaemon(url)
    await settled(sql, id, 'acme')
    const before = await cursorOf(sql, id)
    const live = receiver.requests.length
    const replay = await insertRange(sql, id, 20, 65)
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'done',
      events_expected: '40',
      events_sent: '40',
      events_refused: '0',
      events_missing: '0',
    })
    const sent = receiver.requests.slice(live)
    expect(ofReplay(sent, replay)).toHaveLength(sent.length)
    expect(eventIds(sent)).toEqual(ids(21, 60))
    expect(await cursorOf(sql, id)).toEqual(before)
    const batchIds = receiver.requests.map(({ headers }) => headers['webhook-id'])
    expect(new Set(batchIds).size).toBe(batchIds.length)
    expect(await daemon.logged('replay.started')).toMatchObject({ replay_id: replay, expected: 40 })
    expect(await daemon.logged('replay.finished')).toMatchObject({ replay_id: replay, sent: 40, missing: 0 })
    expect(await daemon.stop()).toBe(0)
    expect(await account(sql, ofLive(receiver.requests), 'acme')).toMatchObject({
      ...nothingWrong,
      repeatedBatches: 0,
    })
  })

  it('ends at the cursor, also where rows lie beyond it', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url })
    await write(5)
    await startDaemon(url)
    await settled(sql, id, null)
    const replay = await insertRange(sql, id, 0, 1_000_000)
    expect(await replayed(sql, replay)).toMatchObject({ state: 'done', events_sent: '5' })
    await write(5)
    await settled(sql, id, null)
    expect(eventIds(ofReplay(receiver.requests, replay))).toEqual(ids(1, 5))
    expect(eventIds(ofLive(receiver.requests))).toEqual(ids(1, 10))
    const beyond = await insertRange(sql, id, 10, 20)
    expect(await replayed(sql, beyond)).toMatchObject({
      state: 'failed',
      last_error: expect.stringContaining('has been delivered yet (the cursor stands at 10)'),
    })
  })
})

describe('dead letters that are replayed', () => {
  it('are resolved when they are taken, as their rows are by then', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, {
      url: receiver.url,
      org: 'acme',
      config: { url: receiver.url, format: 'json_object' },
    })
    await write(6)
    const poison = new Set(['request:2', 'request:5'])
    receiver.always({
      choose: ({ body }) => ({ status: poison.has(JSON.parse(body.toString()).id) ? 422 : 200 }),
    })
    const daemon = await startDaemon(url)
    await settled(sql, id, 'acme')
    await daemon.logged('event.dead_lettered', ({ event_id }) => event_id === 'request:5')
    poison.delete('request:2')
    await sql`UPDATE spillway.request_audit_log SET path = '/mended' WHERE id = 2`
    const replay = await insertReplay(sql, { destination_id: id, kind: 'dead_letters' })
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'done',
      events_expected: '2',
      events_sent: '1',
      events_refused: '1',
    })
    const sent = ofReplay(receiver.requests, replay).map(({ body }) => JSON.parse(body.toString()))
    expect(sent.find((event) => event.id === 'request:2')).toMatchObject({ data: { path: '/mended' } })
    expect(
      await sql`SELECT event_id, resolved_at IS NOT NULL AS resolved FROM spillway.dead_letters ORDER BY id`,
    ).toEqual([
      { event_id: 'request:2', resolved: true },
      { event_id: 'request:5', resolved: false },
    ])
  })
})
