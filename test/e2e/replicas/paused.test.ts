/**
 * Replicas that are stopped by a signal for longer than their leases last, and wake again: by the record of the receiver
 * they send nothing until they hold a lease anew, and by that of PostgreSQL they write nothing.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { pick, seeded, seedOf } from '../../support/random.ts'
import type { Replica } from '../../support/replicas/replicas.ts'
import { ReplicaScene } from '../../support/replicas/scene.ts'
import { describeExchange, overlaps } from '../../support/replicas/traffic.ts'

const seed = seedOf()
const rounds = Number(process.env.SPILLWAY_PAUSES ?? 6)
const leaseMs = 1_000
interface Pause {
  readonly pid: number
  /** When it woke: all that it had sent before the pause has been read by then. */
  readonly wokeAt: number
  /** When it held a lease again. */
  readonly until: number
}

it(`a replica that was paused sends and writes nothing until it holds a lease again (seed ${seed})`, async () => {
  const random = seeded(seed)
  const scene = await ReplicaScene.create({
    destinations: 80,
    env: { SPILLWAY_LEASE_MS: String(leaseMs), SPILLWAY_BACKOFF_SCHEDULE_MS: '100' },
    batchSize: 2,
    answer: () => ({
      status: random() < 0.02 ? 503 : 200,
      afterMs: random() * 80,
      // Half of the requests open a connection.
      closes: random() < 0.5,
    }),
  })
  const { replicas, traffic, watch } = scene
  await replicas.startMany(3)
  const writing = new AbortController()
  const written = scene.write(seed, 8, writing.signal, 60)
  const pauses: Pause[] = []

  async function pause(replica: Replica, afterMs: number, forMs: number): Promise<void> {
    await delay(afterMs)
    replica.process.kill('SIGSTOP')
    await delay(forMs)
    const linesBefore = replica.process.lines.length
    const wokeAt = performance.now()
    replica.process.kill('SIGCONT')
    const { time } = await replica.process.logged('lease.acquired', (line) =>
      replica.process.lines.includes(line, linesBefore),
    )
    pauses.push({ pid: replica.pid, wokeAt, until: Date.parse(String(time)) - performance.timeOrigin })
  }

  for (let round = 0; round < rounds; round++) {
    const forMs = leaseMs + 100 + random() * 800
    const [first, ...others] = replicas.running
    if (!first) throw new Error('no replica runs')
    const replica = pick(random, [first, ...others])
    const both = others.filter((other) => other !== replica && random() < 0.3)
    await Promise.all([replica, ...both].map((each) => pause(each, random() * 400, forMs)))
    await replicas.shared()
  }
  writing.abort()
  await written
  await scene.delivered()
  expect(await replicas.stopAll()).toEqual([0, 0, 0])

  const late = pauses.flatMap(({ pid, wokeAt, until }) =>
    traffic.exchanges
      .filter(
        (exchange) =>
          exchange.pid === pid &&
          exchange.beganAt > wokeAt &&
          // The log has whole milliseconds.
          exchange.beganAt < until - 1,
      )
      .map(
        (exchange) =>
          `${describeExchange(exchange)}; awake from ${wokeAt} on, without a lease until ${until}`,
      ),
  )
  const { wrong, rows } = await scene.accounts()
  process.stdout.write(
    `${pauses.length} pauses, ${rows} rows in ${traffic.exchanges.length} requests, of which ` +
      `${traffic.exchanges.filter(({ status }) => status === undefined).length} had no answer\n`,
  )
  expect(late).toEqual([])
  expect(await watch.trespasses()).toEqual([])
  expect(overlaps(traffic.exchanges)).toEqual([])
  expect(wrong).toEqual({})
  expect(await scene.notDelivered()).toEqual([])
}, 180_000)
