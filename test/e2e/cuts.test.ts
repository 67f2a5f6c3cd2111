/** The network between one of two replicas and the database is cut in every way, for shorter and longer than a lease. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { takeovers } from '../support/lease-history.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { seedOf } from '../support/random.ts'
import { hang } from '../support/receiver.ts'
import { beside, type Replica, type SharedScene, sharedScene } from '../support/shared-scene.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

const seed = seedOf()
const leaseMs = 6_000
/** The others look every 500 ms, on a machine that has more to do. */
const takenWithinMs = 3_000
const backWithinMs = 12_000

interface Cut {
  readonly scene: SharedScene
  readonly proxy: TcpProxy
  readonly first: Replica
  readonly second: Replica
}

/** The first replica's way to the database leads through the proxy. */
async function twoReplicas(offset: number, cuts: 'everything' | 'source' = 'everything'): Promise<Cut> {
  const { url } = await createTestDatabase()
  const proxy = await startTcpProxy(url)
  const scene = await sharedScene({ url, seed: seed + offset, leaseMs })
  const first =
    cuts === 'everything'
      ? await scene.start('first', proxy.url)
      : await scene.start('first', url, { SPILLWAY_SOURCE_DATABASE_URL: proxy.url })
  const second = await scene.start(
    'second',
    url,
    cuts === 'source' ? { SPILLWAY_SOURCE_DATABASE_URL: url } : {},
  )
  await scene.shared()
  await scene.writers.more(30)
  await Promise.all([scene.heardFrom('first'), scene.heardFrom('second')])
  return { scene, proxy, first, second }
}

/** All of the first one's work goes on elsewhere, neither before its leases have ended nor long after. */
async function cutForLong({ scene, first, second, proxy }: Cut, cut: () => void): Promise<void> {
  // Whatever it has on its way when its trust ends is broken off.
  scene.answer('first', hang)
  await scene.heardFrom('first')
  cut()
  const cutAt = Date.now()
  await first.daemon.logged('lease.lost', ({ reason }) => reason === 'expired')
  const held = () => scene.sql<{ held: number }[]>`
    SELECT count(*)::int AS held FROM spillway.leases WHERE owner = ${second.id} AND expires_at > clock_timestamp()`
  while ((await held())[0]?.held !== 64) await delay(50)
  await scene.writers.more(40)
  await scene.heardFrom('second')

  const mendedAt = Date.now()
  scene.answer('first', undefined)
  proxy.restore()
  await scene.shared()
  await scene.heardFrom('first')
  const backMs = Date.now() - mendedAt
  await scene.writers.more(20)
  await scene.settle()
  await scene.account()

  const entries = await scene.leases.entries()
  const before = entries.filter(({ at }) => at < mendedAt)
  const { early, afterMs } = takeovers(before, first.id)
  expect(early).toEqual([])
  expect(afterMs).toHaveLength(32)
  expect(Math.max(...afterMs)).toBeLessThan(takenWithinMs)
  expect(backMs).toBeLessThan(backWithinMs)
  const expiry = Math.max(
    ...before.filter(({ owner }) => owner === first.id).map(({ expiresAt }) => expiresAt),
  )
  const late = scene.visits.filter(
    ({ replica, beganAt, endedAt = Number.POSITIVE_INFINITY }) =>
      replica === 'first' && beganAt < mendedAt && endedAt > Math.min(expiry, cutAt + leaseMs),
  )
  expect(late).toEqual([])
  const brokenOff = scene.visits.filter(
    ({ replica, beganAt, brokenOff: isBroken }) => replica === 'first' && isBroken && beganAt < mendedAt,
  )
  expect(brokenOff.length).toBeGreaterThan(0)
}

/** Nothing changes hands. */
async function cutShortly({ scene, first, proxy }: Cut, cut: () => void, forMs: number): Promise<void> {
  cut()
  await delay(forMs)
  proxy.restore()
  const mendedAt = Date.now()
  const heard = scene.heardFrom('first')
  await scene.writers.more(20)
  // Sooner than silent statements would be given up by themselves.
  expect(await heard).toBeLessThan(backWithinMs)
  await scene.settle()
  const settledMs = Date.now() - mendedAt
  const entries = await scene.leases.entries()
  await scene.account()
  expect(takeovers(entries, first.id)).toEqual({ early: [], afterMs: [] })
  expect(first.daemon.lines.filter(({ event }) => event === 'lease.lost')).toEqual([])
  expect(settledMs).toBeLessThan(30_000)
}

const long = {
  'a black hole': async () => {
    const cut = await twoReplicas(1)
    await cutForLong(cut, () => cut.proxy.blackHole())
  },
  'what it sends is lost': async () => {
    const cut = await twoReplicas(2)
    await cutForLong(cut, () => cut.proxy.blackHole(['to server']))
  },
  'what it is answered is lost': async () => {
    const cut = await twoReplicas(3)
    await cutForLong(cut, () => cut.proxy.blackHole(['to client']))
  },
  resets: async () => {
    const cut = await twoReplicas(4)
    await cutForLong(cut, () => cut.proxy.reset())
  },
} as const satisfies Scenarios

const short = {
  'a black hole': async () => {
    const cut = await twoReplicas(5)
    await cutShortly(cut, () => cut.proxy.blackHole(), 1_000)
  },
  'half-open connections': async () => {
    const cut = await twoReplicas(6)
    await cutShortly(cut, () => cut.proxy.halfOpen(), 0)
  },
  'half-open connections whose server side is gone': async () => {
    const cut = await twoReplicas(7)
    await cutShortly(cut, () => cut.proxy.abandon(), 0)
  },
  resets: async () => {
    const cut = await twoReplicas(8)
    await cutShortly(cut, () => cut.proxy.reset(), 1_000)
  },
  'a slow network': async () => {
    const cut = await twoReplicas(9)
    await cutShortly(cut, () => cut.proxy.slow({ latencyMs: 300, bytesPerSecond: 20_000 }), 8_000)
  },
  'the source database alone, for longer than a lease': async () => {
    const cut = await twoReplicas(10, 'source')
    const { scene, proxy } = cut
    await cutShortly(cut, () => proxy.blackHole(), leaseMs + 2_000)
    const began = scene.visits.filter(({ replica }) => replica === 'first').map(({ beganAt }) => beganAt)
    const gaps = began.slice(1).map((each, index) => each - (began[index] ?? 0))
    expect(Math.max(...gaps)).toBeGreaterThan(leaseMs)
  },
} as const satisfies Scenarios

type Scenarios = Readonly<Record<string, () => Promise<void>>>

/** They wait more than they work; more of them at once would measure each other. */
function pairs<Name extends string>(scenarios: Readonly<Record<Name, () => Promise<void>>>): [Name, Name][] {
  const names = Object.keys(scenarios) as Name[] // of an object that is written down above
  return names.flatMap((name, index) => {
    const next = names[index + 1]
    return index % 2 === 0 && next ? [[name, next]] : []
  })
}

it.each(pairs(long))(
  `cut for longer than a lease (%s; %s), a replica stops in time, others take over, and it comes back (seed ${seed})`,
  (one, other) => beside({ [one]: long[one], [other]: long[other] }),
)

it.each(pairs(short))(
  `cut for a while (%s; %s), a replica keeps what it has and goes on (seed ${seed})`,
  (one, other) => beside({ [one]: short[one], [other]: short[other] }),
)
