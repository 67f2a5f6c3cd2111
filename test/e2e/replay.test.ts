import { describe, expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { Page } from '../support/recipes/page.ts'
import { eventIds, insertRange, insertReplay, ofLive, ofReplay, replayed } from '../support/replays.ts'
import { createScene } from '../support/scene.ts'
import { separateScene } from '../support/separate-scene.ts'
import { createXactTable } from '../support/xact-table.ts'

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

describe('a replay beside the live stream', () => {
  it('leaves its order and its cursor alone', async () => {
    const { url, sql, receiver, write } = await createScene()
    const delivery = { batchSize: 10, interBatchDelayMs: 5 }
    const id = await insertDestination(sql, { url: receiver.url, org: 'acme', delivery })
    await write(300)
    const daemon = await startDaemon(url)
    await settled(sql, id, 'acme')
    const [before] = await cursorOf(sql, id)
    const replay = await insertRange(sql, id, 0, 300)
    await daemon.logged('replay.started')
    let positions = 0
    for (let written = 0; written < 10; written++) {
      await write(20)
      await write(3, 'other')
      const [cursor] = await cursorOf(sql, id)
      expect(Number(cursor?.position)).toBeGreaterThanOrEqual(positions)
      positions = Number(cursor?.position)
    }
    await replayed(sql, replay)
    await settled(sql, id, 'acme')
    await daemon.stop()
    const [after] = await cursorOf(sql, id)
    expect(after).toMatchObject({ life: before?.life })
    expect(Number(after?.position)).toBeGreaterThan(500)
    expect(await account(sql, ofLive(receiver.requests), 'acme')).toMatchObject({
      ...nothingWrong,
      repeatedBatches: 0,
    })
    expect(eventIds(ofReplay(receiver.requests, replay))).toEqual(ids(1, 300))
  })

  it('waits its turn behind another one of its destination', async () => {
    const { url, sql, receiver, write } = await createScene()
    const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 10 } })
    await write(40)
    await startDaemon(url)
    await settled(sql, id, null)
    const [first, second] = [await insertRange(sql, id, 0, 20), await insertRange(sql, id, 20, 40)]
    await Promise.all([replayed(sql, first), replayed(sql, second)])
    const order = receiver.requests.flatMap(({ headers }) => headers['spillway-replay'] ?? [])
    expect(order).toEqual([first, first, second, second].map(String))
  })
})

describe('a replay by time', () => {
  it('sends exactly what is stamped in it, of all log types, wherever its rows lie', async () => {
    const { url, sql, receiver } = await createScene()
    const id = await insertDestination(sql, {
      url: receiver.url,
      org: 'acme',
      logTypes: ['request', 'action'],
    })
    // Timestamps that do not follow the ids, at and around both ends.
    const stamps = ['10:00', '09:59:59.999999', '11:59:59.999999', '12:00', '08:00', '10:30', '13:00']
    for (const table of ['request_audit_log', 'action_audit_log']) {
      for (const [org, stamp] of stamps.flatMap(
        (stamp) =>
          [
            ['acme', stamp],
            ['other', stamp],
          ] as const,
      )) {
        await sql`
          INSERT INTO ${sql(`spillway.${table}`)} (org_id, occurred_at)
          VALUES (${org}, ${`2026-11-20T${stamp}Z`}::text::timestamptz)`
      }
    }
    await startDaemon(url)
    await settled(sql, id, 'acme')
    await settled(sql, id, 'acme', {
      logType: 'action',
      relation: 'spillway.action_audit_log',
      orgColumn: 'org_id',
    })
    const window = { since: '2026-11-20T10:00:00Z', until: '2026-11-20T12:00:00Z' }
    const replay = await insertReplay(sql, { destination_id: id, kind: 'since', ...window })
    expect(await replayed(sql, replay)).toMatchObject({
      state: 'done',
      events_expected: '6',
      events_sent: '6',
    })
    const expected = ['action:1', 'action:5', 'action:11', 'request:1', 'request:5', 'request:11']
    expect(eventIds(ofReplay(receiver.requests, replay))).toEqual(expected)
    const one = { destination_id: id, kind: 'since', log_type: 'action', ...window }
    expect(await replayed(sql, await insertReplay(sql, one))).toMatchObject({ events_sent: '3' })
    const none = { destination_id: id, kind: 'since', since: '2027-01-01' }
    expect(await replayed(sql, await insertReplay(sql, none))).toMatchObject({
      state: 'failed',
      last_error: expect.stringContaining('no delivered row of the destination is stamped in that time'),
    })
  })

  it('goes back before the destination was there, to its own org’s rows only', async () => {
    const { url, sql, receiver, write } = await createScene()
    await write(4)
    await write(4, 'other')
    await write(4)
    await startDaemon(url)
    const id = await insertDestination(sql, { url: receiver.url, org: 'acme' })
    await write(1)
    await settled(sql, id, 'acme')
    expect(eventIds(receiver.requests)).toEqual(['request:13'])
    const replay = await insertReplay(sql, { destination_id: id, kind: 'since', since: '2026-01-01' })
    await replayed(sql, replay)
    expect(eventIds(ofReplay(receiver.requests, replay))).toEqual([...ids(1, 4), ...ids(9, 13)])
  })
})

describe('a source with the ordering xact', () => {
  it.each([
    ['uuid', 'uuid DEFAULT gen_random_uuid()'],
    ['bigint', 'bigint DEFAULT (random() * 1e18)::bigint'],
    ['text', 'text DEFAULT md5(random()::text)'],
  ])('is replayed by range, by time and by dead letters, with %s keys', async (_, key) => {
    const { url, sql, receiver } = await createScene()
    await createXactTable(sql, { key })
    const id = await insertDestination(sql, {
      url: receiver.url,
      org: 'acme',
      logTypes: ['visit'],
      config: { url: receiver.url, format: 'json_object' },
    })
    receiver.always({
      choose: ({ body }) => ({ status: JSON.parse(body.toString()).data.note === '3' ? 422 : 200 }),
    })
    for (const n of [1, 2, 3]) {
      await sql`INSERT INTO visit (tenant, note) SELECT unnest(${['acme', 'other']}::text[]), ${n}`
    }
    await sql`INSERT INTO visit (tenant, note) SELECT 'acme', n FROM generate_series(4, 9) n`
    const daemon = await startDaemon(url)
    await daemon.logged('event.dead_lettered')
    const position = async () => (await cursorOf(sql, id))[0]?.position
    await expect.poll(position, { timeout: 60_000 }).not.toBe('0')
    await expect.poll(() => receiver.requests.length, { timeout: 60_000 }).toBe(9)
    const notes = (replay: number) =>
      ofReplay(receiver.requests, replay).map(({ body }) => JSON.parse(body.toString()).data.note)
    await expect
      .poll(
        async () =>
          (
            await sql`
        SELECT FROM spillway.cursors c WHERE destination_id = ${id} AND spillway.position_number(position)
          >= (SELECT max(xact::text::numeric) FROM visit)`
          ).length,
        { timeout: 60_000 },
      )
      .toBe(1)
    const rows =
      await sql`SELECT xact::text AS xact, note FROM visit WHERE tenant = 'acme' ORDER BY xact, note`
    const xactOf = (note: string) => String(rows.find((row) => row.note === note)?.xact)
    const range = await insertReplay(sql, {
      destination_id: id,
      kind: 'range',
      log_type: 'visit',
      from_position: xactOf('2'),
      to_position: xactOf('4'),
    })
    expect(await replayed(sql, range)).toMatchObject({
      state: 'done',
      events_expected: '2',
      events_sent: '1',
      events_refused: '1',
    })
    expect(notes(range)).toEqual(expect.arrayContaining(['2', '3']))
    receiver.always({ status: 200 })
    const dead = await insertReplay(sql, { destination_id: id, kind: 'dead_letters' })
    expect(await replayed(sql, dead)).toMatchObject({ state: 'done', events_sent: '1' })
    expect(notes(dead)).toEqual(['3'])
    const since = await insertReplay(sql, { destination_id: id, kind: 'since', since: '2026-01-01' })
    expect(await replayed(sql, since)).toMatchObject({ state: 'done', events_sent: '9' })
    expect(new Set(notes(since)).size).toBe(9)
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

it('reads a separate database with nothing but SELECT', async () => {
  const { url, sql, env, receiver, source, grants } = await separateScene()
  await new Page({ path: 'OPERATIONS.md', section: 'A separate source database', sql, env }).step()
  await grants('Grants').step()
  await sql`
    INSERT INTO spillway.sources (log_type, relation, org_column, timestamp_column, exclude_columns)
    VALUES ('login', 'audit.login', 'tenant', 'at', '{secret}')`
  const format = 'json_object'
  const id = await insertDestination(sql, {
    url: receiver.url,
    org: 'acme',
    logTypes: ['login'],
    startFrom: 'beginning',
    config: { url: receiver.url, format },
  })
  receiver.always({ choose: ({ body }) => ({ status: body.includes('login:50') ? 422 : 200 }) })
  await source.sql`INSERT INTO audit.login (tenant) SELECT unnest('{acme,other}'::text[]) FROM generate_series(1, 40)`
  const daemon = await startDaemon(url, env)
  const mine = await source.sql`SELECT id FROM audit.login WHERE tenant = 'acme'`
  await source.sql`UPDATE audit.login SET tenant = 'acme' WHERE id = 50`
  const count = new Set([...mine.map((row) => String(row.id)), '50']).size
  while (receiver.requests.length < mine.length) await receiver.received(receiver.requests.length + 1)
  await expect.poll(async () => Number((await cursorOf(sql, id))[0]?.position)).toBeGreaterThanOrEqual(79)
  const idsOf = (replay: number) =>
    ofReplay(receiver.requests, replay).map(({ body }) => JSON.parse(body.toString()).id)
  const since = await insertReplay(sql, { destination_id: id, kind: 'since', since: '2026-01-01' })
  expect(await replayed(sql, since)).toMatchObject({ state: 'done', events_refused: '1' })
  expect(new Set(idsOf(since)).size).toBe(count)
  receiver.always({ status: 200 })
  const dead = await insertReplay(sql, { destination_id: id, kind: 'dead_letters' })
  expect(await replayed(sql, dead)).toMatchObject({ state: 'done', events_sent: '1' })
  expect(idsOf(dead)).toEqual(['login:50'])
  expect(await daemon.stop()).toBe(0)
})
