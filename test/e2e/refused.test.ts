import { describe, expect, it } from 'vitest'
import { account, deliveries, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { failedTimes, insertDestination, settled, stateOf } from '../support/destinations.ts'
import type { ReceivedRequest, Reply } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

const quick = { SPILLWAY_INTER_BATCH_DELAY_MS: '0', SPILLWAY_BACKOFF_SCHEDULE_MS: '300' }

const idsOf = (request: ReceivedRequest): number[] =>
  deliveries([request]).flatMap(({ events }) => events.map(({ id }) => Number(id.split(':')[1])))

/** Refuses every request with one of these rows in it. */
const poisoned =
  (rows: readonly number[], status = 400) =>
  (request: ReceivedRequest): Reply => ({
    status: idsOf(request).some((id) => rows.includes(id)) ? status : 200,
    body: 'no such luck: s3cret-answer',
  })

describe('poisoned events', () => {
  it('are found among a thousand, and all others are delivered in order', async () => {
    const { url, sql, receiver, write } = await createScene()
    const poison = [1, 2, 250, 251, 500, 777, 1_000]
    const reply = poisoned(poison, 422)
    const taken: number[] = []
    receiver.always({
      choose: (request) => {
        const answer = reply(request)
        if ('status' in answer && answer.status === 200) taken.push(...idsOf(request))
        return answer
      },
    })
    const id = await insertDestination(sql, { url: receiver.url })
    await write(1_000)
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    await daemon.stop()

    const good = Array.from({ length: 1_000 }, (_, index) => index + 1).filter((row) => !poison.includes(row))
    expect(taken).toEqual(good)
    const dead =
      await sql`SELECT event_id, log_type, provider, status, reason, resolved_at FROM spillway.dead_letters ORDER BY id`
    expect(dead).toEqual(
      poison.map((row) => ({
        event_id: `request:${row}`,
        log_type: 'request',
        provider: 'http',
        status: 422,
        reason: 'http_status: The receiver answered 422 Unprocessable Entity.',
        resolved_at: null,
      })),
    )
    const least = 1_000 / 250
    expect(receiver.requests.length - least).toBeLessThanOrEqual(7 * 2 * Math.log2(250))
    expect(daemon.lines.filter(({ event }) => event === 'event.dead_lettered')).toHaveLength(7)
    expect(await sql`SELECT * FROM spillway.skipped_ranges`).toHaveLength(0)
    expect(await stateOf(sql, id)).toMatchObject({ status: 'active', consecutive_failures: 0 })
    expect(JSON.stringify(daemon.lines)).not.toContain('s3cret')
  })

  it('that come alone hold the others up until the next one is accepted, and no longer', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ choose: poisoned([1, 3]) })
    const id = await insertDestination(sql, { url: receiver.url })
    const daemon = await startDaemon(url, quick)
    await write(1)
    await daemon.logged('destination.backing_off')
    expect(await sql`SELECT * FROM spillway.dead_letters`).toHaveLength(0)
    await write(3)
    await settled(sql, id, null)
    await daemon.stop()
    const dead = await sql`SELECT event_id FROM spillway.dead_letters ORDER BY id`
    expect(dead).toEqual([{ event_id: 'request:1' }, { event_id: 'request:3' }])
    expect(await stateOf(sql, id)).toMatchObject({ status: 'active', consecutive_failures: 0 })
  })

  it('are told at once where a batch that was on its way beside them was accepted', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ choose: poisoned([1]) })
    const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 1, maxInFlight: 2 } })
    await write(2)
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    await daemon.stop()
    expect(receiver.requests).toHaveLength(2)
    expect(daemon.lines.filter(({ event }) => event === 'destination.failed')).toEqual([])
    expect(await sql`SELECT event_id FROM spillway.dead_letters`).toEqual([{ event_id: 'request:1' }])
  })

  it('that come alone in two log types hold neither of them up', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({
      choose: ({ body }) => ({ status: /"(request|action):1"/.test(body.toString()) ? 400 : 200 }),
    })
    const logTypes = ['request', 'action']
    const id = await insertDestination(sql, { url: receiver.url, logTypes, delivery: { batchSize: 1 } })
    await write(3)
    await sql`INSERT INTO spillway.action_audit_log (org_id) SELECT 'acme' FROM generate_series(1, 3)`
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    const actions = { logType: 'action', relation: 'spillway.action_audit_log', orgColumn: 'org_id' }
    await settled(sql, id, null, actions)
    await daemon.stop()
    const dead = await sql`SELECT event_id FROM spillway.dead_letters ORDER BY event_id`
    expect(dead).toEqual([{ event_id: 'action:1' }, { event_id: 'request:1' }])
  })

  it('that come alone are told also where what is sent holds the time of sending', async () => {
    const { url, sql, receiver } = await createScene()
    const apiKey = 'a'.repeat(32)
    receiver.always({
      choose: ({ body }) => ({ status: body.includes('"request:1"') ? 400 : 202 }),
    })
    const id = await insertDestination(sql, {
      url: '',
      type: 'datadog',
      config: { apiKey, endpoint: receiver.url, timestampMode: 'forward' },
      delivery: { batchSize: 1 },
    })
    await sql`
      INSERT INTO spillway.request_audit_log (org_id, occurred_at)
      SELECT 'acme', now() - interval '2 days' FROM generate_series(1, 3)`
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    await daemon.stop()
    const dead = await sql`SELECT event_id FROM spillway.dead_letters`
    expect(dead).toEqual([{ event_id: 'request:1' }])
  })

  it('of endpoints that take one event a request are told by their own answer', async () => {
    const { url, sql, receiver, write } = await createScene()
    const statuses: Record<number, number> = { 2: 400, 4: 413, 5: 422, 6: 501, 8: 404 }
    receiver.always({
      choose: ({ body }) => ({ status: statuses[JSON.parse(body.toString()).data.id] ?? 200 }),
    })
    const id = await insertDestination(sql, {
      url: receiver.url,
      config: { url: receiver.url, format: 'json_object' },
    })
    await write(9)
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    await daemon.stop()
    expect(receiver.requests).toHaveLength(9)
    const dead = await sql`SELECT event_id, status FROM spillway.dead_letters ORDER BY id`
    expect(dead).toEqual(
      Object.entries(statuses).map(([row, status]) => ({ event_id: `request:${row}`, status })),
    )
  })
})

describe('a destination that refuses everything', () => {
  it('backs off, loses nothing, and gets its batches as they were when it is mended', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ status: 400 })
    const id = await insertDestination(sql, { url: receiver.url })
    await write(20)
    const daemon = await startDaemon(url, quick)
    await daemon.logged('destination.backing_off', ({ consecutive_failures }) => consecutive_failures === 1)
    const [whole] = receiver.requests
    // The whole batch and each part of it, down to every event alone.
    expect(receiver.requests.filter((request) => idsOf(request).length === 1)).toHaveLength(20)
    const searched = receiver.requests.length
    expect(searched).toBe(39)
    await failedTimes(sql, id, 4)
    const again = receiver.requests.filter(
      ({ headers }) => headers['webhook-id'] === whole?.headers['webhook-id'],
    )
    expect(again.map(({ body }) => body)).toEqual(again.map(() => whole?.body))
    expect(again.length).toBeGreaterThanOrEqual(4)
    expect(await stateOf(sql, id)).toMatchObject({ status: 'backing_off' })
    expect(await sql`SELECT * FROM spillway.dead_letters`).toHaveLength(0)
    expect(await sql`SELECT position FROM spillway.cursors`).toEqual([{ position: '0' }])
    await daemon.stop()

    const refused = receiver.requests.length
    receiver.always({ status: 200 })
    const mended = await startDaemon(url, quick)
    await settled(sql, id, null)
    await mended.stop()
    const delivered = receiver.requests.slice(refused)
    expect(delivered.map(({ headers }) => headers['webhook-id'])).toEqual([whole?.headers['webhook-id']])
    expect(await account(sql, delivered, null)).toMatchObject(nothingWrong)
  })

  it('loses nothing by what it accepted before it went wrong', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ choose: poisoned([1], 500) })
    const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 5, maxInFlight: 2 } })
    await write(10)
    const daemon = await startDaemon(url, { ...quick, SPILLWAY_BACKOFF_SCHEDULE_MS: '1000,100' })
    await daemon.logged('destination.backing_off')
    // Of two batches one has failed, and one was accepted.
    const before = receiver.requests.length
    receiver.always({ status: 400 })
    await write(5)
    await Promise.race([failedTimes(sql, id, 5), daemon.logged('event.dead_lettered')])
    expect(await sql`SELECT event_id FROM spillway.dead_letters`).toEqual([])
    receiver.always({ status: 200 })
    await settled(sql, id, null)
    await daemon.stop()
    const rows = receiver.requests.slice(before).flatMap(idsOf)
    expect(rows.filter((row) => row > 5 && row <= 10)).toEqual([])
  })

  it('is not asked for every event each time', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ status: 404 })
    const id = await insertDestination(sql, { url: receiver.url })
    await write(200)
    const daemon = await startDaemon(url, { ...quick, SPILLWAY_BACKOFF_SCHEDULE_MS: '100' })
    await failedTimes(sql, id, 8)
    await daemon.stop()
    // The searches after 0, 1, 2 and 4 failures are whole ones (399 each), the others look at 32.
    expect(receiver.requests.length).toBeLessThan(4 * 399 + 4 * 33 + 399)
  })
})

describe('an answer about a part of a batch', () => {
  it('is halved on 413 until the parts are small enough, and later batches are smaller', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ choose: (request) => ({ status: idsOf(request).length > 30 ? 413 : 200 }) })
    const id = await insertDestination(sql, {
      url: receiver.url,
      delivery: { batchSize: 200, maxCatchupBatches: 1 },
    })
    await write(1_000)
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    await daemon.stop()
    expect(await sql`SELECT * FROM spillway.dead_letters`).toHaveLength(0)
    const sizes = receiver.requests.map((request) => idsOf(request).length)
    expect(sizes.slice(0, 4)).toEqual([200, 100, 50, 25])
    // From the first batch on it is known; what grows beyond it is cut again.
    expect(sizes.slice(12).every((size) => size < 60)).toBe(true)
    const taken = receiver.requests.filter((request) => idsOf(request).length <= 30)
    expect(await account(sql, taken, null)).toMatchObject(nothingWrong)
  })
})

describe('a slow endpoint', () => {
  it('is not sent again, in smaller batches, what it accepted ahead of a batch that timed out', async () => {
    const { url, sql, receiver, write } = await createScene()
    let hung = false
    receiver.always({
      choose: (request) => (response) => {
        const hangs = !hung && idsOf(request).includes(1)
        if (hangs) hung = true
        else response.writeHead(200).end()
      },
    })
    const id = await insertDestination(sql, {
      url: receiver.url,
      delivery: { batchSize: 10, maxInFlight: 2 },
    })
    await write(40)
    const daemon = await startDaemon(url, { ...quick, SPILLWAY_REQUEST_TIMEOUT_MS: '500' })
    await settled(sql, id, null)
    await daemon.stop()
    // The batch that timed out is the only one that came twice, and nothing came in two batches.
    const ids = receiver.requests.map(({ headers }) => headers['webhook-id'])
    expect(ids.length - new Set(ids).size).toBe(1)
    const events = receiver.requests.flatMap(idsOf).sort((a, b) => a - b)
    const rows = Array.from({ length: 40 }, (_, index) => index + 1)
    expect(events).toEqual([...rows, ...rows.slice(0, 10)].sort((a, b) => a - b))
  })

  it('is drained in smaller batches instead of given up, and gets a batch that timed out once more as it was', async () => {
    const { url, sql, receiver, write } = await createScene()
    // 10 ms an event: a batch of 100 would take a second, twice the time there is.
    receiver.always({
      choose: (request) => (response) => {
        const timer = setTimeout(() => response.writeHead(200).end(), idsOf(request).length * 10)
        response.on('close', () => clearTimeout(timer))
      },
    })
    const id = await insertDestination(sql, {
      url: receiver.url,
      delivery: { batchSize: 100, maxBacklogAgeMs: 20_000 },
    })
    await write(300)
    const daemon = await startDaemon(url, { ...quick, SPILLWAY_REQUEST_TIMEOUT_MS: '500' })
    await settled(sql, id, null)
    await daemon.stop()
    expect(daemon.lines.filter(({ event }) => event === 'backlog.abandoned')).toEqual([])
    const [first, second, third] = receiver.requests
    expect(second?.headers['webhook-id']).toBe(first?.headers['webhook-id'])
    expect(second?.body).toEqual(first?.body)
    expect(idsOf(third as ReceivedRequest)).toHaveLength(25)
    const failures = daemon.lines.filter(({ event }) => event === 'destination.failed')
    expect(failures.every(({ reason }) => reason === 'timeout')).toBe(true)
    const whole = receiver.requests.slice(2)
    expect(await account(sql, whole, null)).toMatchObject({
      ...nothingWrong,
      repeatedElsewhere: expect.any(Array),
    })
  })
})
