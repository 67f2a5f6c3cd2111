/**
 * Three replicas, two hundred destinations, an endpoint that fails one request in twenty, and a kill -9 every second.
 * `SPILLWAY_TEST_SEED=<seed>` runs the same plan again, `SPILLWAY_KILLS_MS=180000` for three minutes.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { variants } from '../../support/audit-table.ts'
import { pick, seeded, seedOf } from '../../support/random.ts'
import { ReplicaScene } from '../../support/replicas/scene.ts'
import {
  type Answer,
  describeExchange,
  type Exchange,
  overlaps,
  repeats,
} from '../../support/replicas/traffic.ts'

const seed = seedOf()
const killsMs = Number(process.env.SPILLWAY_KILLS_MS ?? 40_000)
const everyMs = 1_000
const failedShare = 0.05

it(`delivers what is committed over a kill every second, and repeats no more than was under way (seed ${seed})`, {
  timeout: killsMs + 100_000,
}, async () => {
  const random = seeded(seed)
  const variant = pick(random, variants)
  const scene = await ReplicaScene.create({
    destinations: 200,
    variant,
    // Above the longest answer; of a batch whose time runs out the next part is asked for after the back-off.
    env: { SPILLWAY_REQUEST_TIMEOUT_MS: '1000', SPILLWAY_BACKOFF_SCHEDULE_MS: '200' },
    answer: failing(seeded(seed + 1)),
  })
  const { replicas, traffic, watch } = scene
  await replicas.startMany(3)
  const writing = new AbortController()
  const written = scene.write(seed, 10, writing.signal)
  let kills = 0
  const began = performance.now()
  while (performance.now() - began < killsMs) {
    await delay(began + (kills + 1) * everyMs - performance.now())
    const replica = replicas.running[Math.floor(random() * replicas.running.length)]
    if (!replica) throw new Error('no replica runs')
    kills += 1
    replicas.kill(replica)
    await replicas.spawn()
  }
  writing.abort()
  await written
  await scene.delivered()
  expect(await replicas.stopAll()).toEqual([0, 0, 0])

  const { wrong, rows, events } = await scene.accounts()
  const again = [...repeats(traffic.exchanges)]
  const lostLeases = replicas.lines.filter(({ event }) => event === 'lease.lost')
  const most = Math.max(0, ...again.map(([, { length }]) => length))
  const failed = traffic.exchanges.filter(({ status }) => status !== 200).length
  process.stdout.write(
    `${variant.name}: ${kills} kills, ${rows} rows, ${events} events in ${traffic.exchanges.length} requests, of which ` +
      `${failed} were not accepted; ${again.flatMap(([, all]) => all).length} accepted batches were repeated, at most ${most} of one ` +
      `destination; ${lostLeases.length} times leases were lost\n`,
  )
  expect(wrong).toEqual({})
  expect(await scene.notDelivered()).toEqual([])
  expect(overlaps(traffic.exchanges)).toEqual([])
  expect(await watch.trespasses()).toEqual([])
  // A batch that was accepted comes again for one reason only: who sent it could not settle it any more.
  for (const [path, all] of again) {
    const causes = all.map(({ before, again }) => {
      const cause = replicas.endOfTrust(before.pid, before.beganAt, again.beganAt)
      if (cause !== undefined) return cause
      const all = traffic.exchanges.filter(({ batchId }) => batchId === again.batchId).map(describeExchange)
      const lines = replicas.all.find(({ pid }) => pid === again.pid)?.process.lines ?? []
      const moves = lines
        .filter(({ event }) => /lease|error/.test(event))
        .map(({ time, msg }) => `${time} ${msg}`)
      return ['came again without a cause:', ...all, ...moves].join('\n')
    })
    // One batch a destination a kill.
    expect([path, causes]).toEqual([path, causes.filter((cause) => typeof cause === 'number')])
    expect([path, ...new Set(causes)]).toEqual([path, ...causes])
  }
  expect(kills).toBeGreaterThan(killsMs / everyMs - 2)
})

/** Of the requests some fail; none twice by a time-out, after which a batch may be cut smaller under other ids. */
function failing(random: () => number): (exchange: Exchange) => Answer {
  const hung = new Set<string>()
  return ({ batchId }) => {
    if (random() >= failedShare) return { status: 200, afterMs: random() ** 2 * 60 }
    const kind = random()
    if (kind < 0.4) return { status: 503, afterMs: random() * 60 }
    if (kind < 0.6) return { status: 500 }
    if (kind < 0.8 || hung.has(batchId)) return 'reset'
    hung.add(batchId)
    return 'hang'
  }
}
