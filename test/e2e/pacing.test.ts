import { describe, expect, it } from 'vitest'
import { account, deliveries, nothingWrong } from '../support/accounting.ts'
import { type LogLine, startDaemon } from '../support/daemon.ts'
import { failedTimes, insertDestination, settled, stateOf } from '../support/destinations.ts'
import { createScene } from '../support/scene.ts'

const quick = { SPILLWAY_INTER_BATCH_DELAY_MS: '0', SPILLWAY_BACKOFF_SCHEDULE_MS: '100' }

describe('people are told', () => {
  it('that a destination is unhealthy, that its backlog comes closer to its end, and that it has recovered', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ status: 500 })
    const id = await insertDestination(sql, {
      url: receiver.url,
      delivery: { unhealthyAfterFailures: 3, maxBacklogAgeMs: 6_000, onBacklogExpiry: 'hold' },
    })
    await write(5)
    const daemon = await startDaemon(url, quick)
    const unhealthy = await daemon.logged('destination.unhealthy')
    expect(unhealthy).toMatchObject({
      level: 'warn',
      channel: 'spillway.notifications',
      destination_id: id,
      consecutive_failures: 3,
    })
    for (const percent of [50, 75, 90]) {
      const expiring = await daemon.logged('backlog.expiring', (line) => line.percent === percent)
      expect(expiring).toMatchObject({ channel: 'spillway.notifications', on_expiry: 'hold' })
      const { first_failed_at } = await stateOf(sql, id)
      expect(Date.parse(String(expiring.expires_at))).toBe((first_failed_at?.getTime() ?? 0) + 6_000)
      expect(Number(expiring.failing_for_ms)).toBeGreaterThanOrEqual(60 * percent)
      expect(Number(expiring.failing_for_ms)).toBeLessThan(60 * percent + 1_000)
    }
    await daemon.logged('backlog.held')
    receiver.always({ status: 200 })
    await settled(sql, id, null)
    expect(await daemon.logged('destination.recovered')).toMatchObject({ channel: 'spillway.notifications' })
    await daemon.stop()
    const told = ({ event }: LogLine) => event === 'destination.unhealthy' || event === 'backlog.expiring'
    expect(daemon.lines.filter(told)).toHaveLength(4)
  })

  it('also while the next attempt is far away, and not again by a daemon that starts later', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ status: 500 })
    const id = await insertDestination(sql, {
      url: receiver.url,
      delivery: { unhealthyAfterMs: 300, maxBacklogAgeMs: 8_000 },
    })
    await write(1)
    const env = { ...quick, SPILLWAY_BACKOFF_SCHEDULE_MS: '100,100,3600000' }
    const daemon = await startDaemon(url, env)
    await daemon.logged('backlog.expiring', ({ percent }) => percent === 50)
    await failedTimes(sql, id, 3)
    const attempts = receiver.requests.length
    await daemon.logged('backlog.expiring', ({ percent }) => percent === 75)
    expect(receiver.requests).toHaveLength(attempts)
    await daemon.stop()
  })
})

describe('a Retry-After', () => {
  it('holds for all log types of the destination, over a restart too', async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.reply({ status: 429, headers: { 'retry-after': '4' } })
    const id = await insertDestination(sql, { url: receiver.url, logTypes: ['request', 'action'] })
    await write(3)
    await sql`INSERT INTO spillway.action_audit_log (org_id) VALUES ('acme')`
    const daemon = await startDaemon(url, quick)
    const { delay_ms, next_attempt_at } = await daemon.logged('destination.backing_off')
    expect(Number(delay_ms)).toBeGreaterThanOrEqual(4_000)
    await daemon.stop()
    expect(receiver.requests).toHaveLength(1)
    const again = await startDaemon(url, quick)
    await receiver.received(2)
    expect(Date.now()).toBeGreaterThanOrEqual(Date.parse(String(next_attempt_at)) - 50)
    await settled(sql, id, null)
    await again.stop()
  })
})

describe('a rate limit', () => {
  it('spreads events evenly, whatever the backlog', async () => {
    const { url, sql, receiver, write } = await createScene()
    const arrivals: { at: number; events: number }[] = []
    receiver.always({
      choose: (request) => {
        arrivals.push({ at: performance.now(), events: deliveries([request])[0]?.events.length ?? 0 })
        return { status: 200 }
      },
    })
    const id = await insertDestination(sql, {
      url: receiver.url,
      delivery: { maxEventsPerSecond: 40, batchSize: 10, maxInFlight: 4 },
    })
    await write(100)
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    await daemon.stop()
    expect(arrivals.map(({ events }) => events)).toEqual(Array.from({ length: 10 }, () => 10))
    const gaps = arrivals.slice(1).map(({ at }, index) => at - (arrivals[index]?.at ?? 0))
    // The first one comes later than it was sent by what it takes to connect.
    const [second, last] = [arrivals[1]?.at ?? 0, arrivals.at(-1)?.at ?? 0]
    expect(last - second).toBeGreaterThanOrEqual(8 * 250 - 50)
    expect(Math.min(...gaps)).toBeGreaterThan(100)
    expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
  })

  it('counts requests, those of a search for culprits too', async () => {
    const { url, sql, receiver, write } = await createScene()
    const arrivals: number[] = []
    receiver.always({
      choose: ({ body }) => {
        arrivals.push(performance.now())
        return { status: body.toString().includes('"request:3"') ? 400 : 200 }
      },
    })
    const id = await insertDestination(sql, { url: receiver.url, delivery: { maxRequestsPerMinute: 240 } })
    await write(8)
    const daemon = await startDaemon(url, quick)
    await settled(sql, id, null)
    await daemon.stop()
    expect(arrivals.length).toBeGreaterThan(4)
    expect((arrivals.at(-1) ?? 0) - (arrivals[0] ?? 0)).toBeGreaterThanOrEqual(
      (arrivals.length - 1) * 250 - 50,
    )
    expect(await sql`SELECT event_id FROM spillway.dead_letters`).toEqual([{ event_id: 'request:3' }])
  })
})
