/** The database server itself is stopped, full, or another one with less in it, under several replicas and writers. */
import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { expect, it } from 'vitest'
import { startCluster } from '../support/cluster.ts'
import { takeovers } from '../support/lease-history.ts'
import { connect, createTestDatabase } from '../support/postgres.ts'
import { seedOf } from '../support/random.ts'
import { late } from '../support/receiver.ts'
import { beside, sharedScene } from '../support/shared-scene.ts'
import { mountSmallDisk } from '../support/small-disk.ts'
import { startStandby } from '../support/standby.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

const seed = seedOf()
const leaseMs = 3_000

const scenarios = {
  'the server is stopped and started again, quickly and not': async () => {
    const cluster = await startCluster()
    const scene = await sharedScene({ url: cluster.url, seed: seed + 1, leaseMs })
    const replicas = []
    for (const name of ['first', 'second', 'third']) replicas.push(await scene.start(name, cluster.url))
    await scene.shared()
    await scene.writers.more(20)
    for (const [mode, forMs] of [
      ['immediate', 0],
      ['fast', 500],
      ['immediate', leaseMs + 1_000],
    ] as const) {
      await cluster.stop(mode)
      if (forMs > leaseMs) {
        for (const { daemon } of replicas) await daemon.logged('lease.lost')
      }
      await delay(scene.random() * 300 + forMs)
      await cluster.start()
      await scene.writers.more(20)
      for (const { name } of replicas) await scene.heardFrom(name)
    }
    expect(scene.writers.failed).toBeGreaterThan(3)
    await scene.settle()
    await scene.shared()
    await scene.account()
    expect(takeovers(await scene.leases.entries(), '').early).toEqual([])
  },

  'a standby takes over that lacks the last moments': async () => {
    const primary = await startCluster()
    const { url: sourceUrl } = await createTestDatabase()
    const proxy = await startTcpProxy(primary.url)
    const scene = await sharedScene({ url: primary.url, sourceUrl, seed: seed + 2, leaseMs })
    const env = { SPILLWAY_SOURCE_DATABASE_URL: sourceUrl }
    const standby = await startStandby(primary)
    await scene.start('first', proxy.url, env)
    await scene.start('second', proxy.url, env)
    await scene.shared()
    await scene.writers.more(20)
    await standby.caughtUp()
    standby.cutLink()
    // So the standby knows nothing of what has changed hands since, nor of what has been delivered.
    const own = await startTcpProxy(primary.url)
    await scene.start('third', own.url, env)
    await scene.shared()
    await scene.writers.more(20)
    // What is under way for the shards that changed hands is under way for a while.
    scene.answer('third', late(3_000))
    await scene.heardFrom('third')
    // And the one that has them hears of it last.
    own.blackHole()
    await primary.stop('immediate')
    proxy.retarget(standby.url)
    own.retarget(standby.url)
    await standby.promote()
    scene.failedOver(standby.url)
    await delay(leaseMs)
    own.restore()
    await scene.shared()
    scene.answer('third', undefined)
    await scene.writers.more(20)
    for (const name of ['first', 'second', 'third']) await scene.heardFrom(name)
    await scene.settle()
    await scene.account({ repeatsElsewhere: true })
  },
} as const satisfies Record<string, () => Promise<void>>

it(`loses nothing with its servers (seed ${seed})`, () => beside(scenarios), 180_000)

it(`loses nothing to a disk that is full (seed ${seed})`, async ({ skip }) => {
  const disk = await mountSmallDisk(400)
  if (disk === undefined)
    return skip('nothing can be mounted here: it takes root, or sudo without a password')
  const cluster = await startCluster({ directory: `${disk.path}/cluster` })
  expect(cluster.home.startsWith(disk.path), 'the data lies on the small disk').toBe(true)
  const scene = await sharedScene({ url: cluster.url, seed: seed + 3, leaseMs })
  const hog = connect(cluster.url, 1)
  await hog`CREATE TABLE hog (waste text)`
  await hog`ALTER TABLE hog ALTER waste SET STORAGE EXTERNAL`
  await scene.start('first', cluster.url)
  await scene.start('second', cluster.url)
  await scene.shared()
  await scene.writers.more(20)
  await disk.fill()
  const codes = new Set<string>()
  // Whatever room the server has set aside for itself is used up, too.
  const until = performance.now() + 6_000
  while (performance.now() < until) {
    await hog`INSERT INTO hog SELECT repeat('x', 1000000) FROM generate_series(1, 4)`.catch(
      (error: unknown) => codes.add(error instanceof postgres.PostgresError ? error.code : 'away'),
    )
    await delay(20)
  }
  expect([...codes, ...scene.writers.codes]).toContain('53100')
  await disk.free()
  await cluster.awaken()
  await scene.writers.more(40)
  await scene.shared()
  await scene.settle()
  await scene.account()
}, 120_000)
