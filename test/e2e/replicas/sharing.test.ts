/** How shares settle when replicas come and go, and that the wall clocks of replicas do not matter. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { seedOf } from '../../support/random.ts'
import { ReplicaScene } from '../../support/replicas/scene.ts'
import { overlaps } from '../../support/replicas/traffic.ts'

const seed = seedOf()
const hourMs = 3_600_000

it('shares settle with as few moves as there can be, whoever comes and goes', async () => {
  const scene = await ReplicaScene.create({ destinations: 70 })
  const { replicas, watch } = scene
  let moves = 0
  const moved = async () => {
    await replicas.shared()
    const before = moves
    moves = (await watch.tenures()).length
    return moves - before
  }
  await replicas.start()
  expect(await moved()).toBe(64)
  const second = await replicas.start()
  expect(await moved()).toBe(32)
  await replicas.start()
  expect(await moved()).toBe(21)
  expect([...(await replicas.holdings()).values()].toSorted()).toEqual([21, 21, 22])
  const given = (await replicas.holdings()).get(second.login)
  await replicas.stop(second)
  expect(await moved()).toBe(given)
  const third = await replicas.start()
  expect(await moved()).toBe(21)
  const left = (await replicas.holdings()).get(third.login)
  replicas.kill(third)
  expect(await moved()).toBe(left)
  expect(await replicas.stopAll()).toEqual([0, 0])
}, 120_000)

it(`wall clocks that are wrong by an hour, or are set over and over, change nothing (seed ${seed})`, async () => {
  const failing = new Set(['/org-1', '/org-2', '/org-3', '/org-4', '/org-5', '/org-6'])
  const backOffMs = 2_000
  const scene = await ReplicaScene.create({
    destinations: 60,
    env: { SPILLWAY_BACKOFF_SCHEDULE_MS: String(backOffMs) },
    answer: ({ path }) => ({ status: failing.has(path) ? 503 : 200, afterMs: 10 }),
  })
  const { replicas, sql, traffic, watch } = scene
  await Promise.all([
    replicas.start({ clockOffMs: hourMs }),
    replicas.start({ clockOffMs: -hourMs }),
    replicas.start({ clockOffMs: hourMs, clockStepMs: 700 }),
  ])
  await replicas.shared()
  const writing = new AbortController()
  const written = scene.write(seed, 6, writing.signal, 60)
  const until = performance.now() + 9_000
  const refused = () =>
    Map.groupBy(
      traffic.exchanges.filter(({ status }) => status === 503),
      ({ path }) => path,
    )
  // Quick retries, and then the back-off over and over.
  const areTriedAgain = () =>
    refused().size === failing.size && [...refused().values()].every(({ length }) => length > 3)
  while (performance.now() < until || !areTriedAgain()) {
    const wrong = await sql`
      SELECT destination_id, status, next_attempt_at - last_error_at AS pause, now() - last_error_at AS age
      FROM spillway.delivery_state
      WHERE next_attempt_at > last_error_at + ${`${2 * backOffMs} ms`}::text::interval
         OR last_error_at NOT BETWEEN now() - interval '1 minute' AND now() + interval '2 seconds'
         OR first_failed_at NOT BETWEEN now() - interval '1 minute' AND now() + interval '2 seconds'`
    expect(wrong).toEqual([])
    await delay(100)
  }
  failing.clear()
  writing.abort()
  await written
  await scene.delivered()
  expect(await replicas.stopAll()).toEqual([0, 0, 0])
  expect((await scene.accounts()).wrong).toEqual({})
  expect(await scene.notDelivered()).toEqual([])
  expect(overlaps(traffic.exchanges)).toEqual([])
  expect(await watch.trespasses()).toEqual([])
}, 120_000)
