/**
 * Three replicas are replaced one after the other while rows keep coming. The lease time is the default: whatever
 * waited for a lease to run out would be seen. An endpoint that hangs and one that is slow share shards with others; each
 * replica is stopped when a request that will hang has just begun, which is when it looks like any other.
 */
import { EventEmitter, once } from 'node:events'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { insertReplay } from '../../support/replays.ts'
import { ReplicaScene, type Target } from '../../support/replicas/scene.ts'
import { type Exchange, overlaps, repeats } from '../../support/replicas/traffic.ts'

const destinations = 70
const writeEveryMs = 100
const longestGapMs = 2_000

it('a rolling restart loses nothing, repeats nothing, and stops no delivery for two seconds', async () => {
  let isHung = true
  const hanging = new EventEmitter()
  const scene = await ReplicaScene.create({
    destinations,
    env: {
      SPILLWAY_LEASE_MS: '15000',
      SPILLWAY_REQUEST_TIMEOUT_MS: '4000',
      SPILLWAY_BACKOFF_SCHEDULE_MS: '500',
    },
    batchSize: 50,
    answer: ({ path }) => {
      if (path === '/org-0' && isHung) {
        hanging.emit('begun')
        return 'hang'
      }
      return path === '/org-1' ? { status: 200, afterMs: 1_500 } : { status: 200, afterMs: 5 }
    },
  })
  const { replicas, sql, targets, traffic, watch } = scene
  const [hung, slow, ...well] = targets as [Target, Target, ...Target[]]
  // Ids are one after the other: two of the well ones are in the shards of these two.
  expect(well.filter(({ id }) => [hung.id, slow.id].includes(id - 64))).toHaveLength(2)

  await replicas.startMany(3)
  const writing = new AbortController()
  const committedAt = new Map<string, number>()
  const written = (async () => {
    while (!writing.signal.aborted) {
      const rows = await sql<{ id: string }[]>`
        INSERT INTO ${sql(scene.table.relation)} (org, at)
        SELECT 'org-' || n, now() FROM generate_series(0, ${destinations - 1}::int) n RETURNING id::text`
      for (const { id } of rows) committedAt.set(`trail:${id}`, performance.now())
      await delay(writeEveryMs)
    }
  })()
  await delay(1_000)
  const began = performance.now()
  for (const replica of replicas.running) {
    await once(hanging, 'begun')
    expect(await replicas.stop(replica)).toBe(0)
    await replicas.start()
    await replicas.shared()
  }
  const rollingMs = performance.now() - began
  await delay(1_000)
  writing.abort()
  await written
  isHung = false
  await scene.delivered()
  expect(await replicas.stopAll()).toEqual([0, 0, 0])

  const gaps = well.map(({ path }) => longestGap([...traffic.arrived(path).values()]))
  const delays = well.flatMap(({ path }) =>
    [...traffic.arrived(path)].map(([id, at]) => at - (committedAt.get(id) ?? Number.NaN)),
  )
  process.stdout.write(
    `rolling restart in ${(rollingMs / 1_000).toFixed(1)} s, ${committedAt.size} rows: longest gap ${Math.max(...gaps).toFixed(0)} ms, ` +
      `longest way from commit to acceptance ${Math.max(...delays).toFixed(0)} ms\n`,
  )
  const { wrong } = await scene.accounts()
  // What hung was tried twice, and then in parts.
  expect({ ...wrong, [hung.path]: { ...wrong[hung.path], repeatedElsewhere: [] } }).toEqual({
    [hung.path]: { ...wrong[hung.path], repeatedElsewhere: [] },
  })
  expect(wrong[hung.path]?.lost ?? []).toEqual([])
  expect([...repeats(traffic.exchanges)]).toEqual([])
  expect(traffic.exchanges.filter(({ path, status }) => path !== hung.path && status !== 200)).toEqual([])
  expect(overlaps(traffic.exchanges)).toEqual([])
  expect(await watch.trespasses()).toEqual([])
  expect(await scene.notDelivered()).toEqual([])
  expect(replicas.complaints.filter(({ name }) => name !== 'org-0')).toEqual([])
  expect(Math.max(...gaps)).toBeLessThan(longestGapMs)
  expect(Math.max(...delays)).toBeLessThan(longestGapMs)
}, 180_000)

it('a replay that hangs does not stop the other destinations of its shard when that is handed over', async () => {
  const replaying = new EventEmitter()
  const isReplay = ({ request }: Pick<Exchange, 'request'>) =>
    request.headers['spillway-replay'] !== undefined
  const scene = await ReplicaScene.create({
    destinations: 65,
    env: { SPILLWAY_REQUEST_TIMEOUT_MS: '4000' },
    answer: (exchange) => {
      if (!isReplay(exchange)) return { status: 200 }
      replaying.emit('begun', exchange.pid)
      return 'hang'
    },
  })
  const { replicas, sql, table, targets, traffic } = scene
  const [replayed, neighbour] = [targets[0], targets[64]] as [Target, Target]
  expect(neighbour.id - replayed.id).toBe(64)
  const write = (org: string) => sql`INSERT INTO ${sql(table.relation)} (org, at) VALUES (${org}, now())`

  await replicas.startMany(2)
  await write(replayed.org)
  await scene.delivered()
  const begun = once(replaying, 'begun')
  const [last] = await sql<{ id: string }[]>`SELECT max(id)::text AS id FROM ${sql(table.relation)}`
  await insertReplay(sql, {
    destination_id: replayed.id,
    kind: 'range',
    log_type: table.logType,
    from_position: '0',
    to_position: last?.id ?? '',
  })
  const [pid] = (await begun) as [number]
  const holder = replicas.running.find((replica) => replica.pid === pid)
  if (!holder) throw new Error(`no replica is process ${pid}`)
  // It goes on arriving from before the hand-over until after it.
  const ended = new AbortController()
  const written = (async () => {
    while (!ended.signal.aborted) {
      await write(neighbour.org)
      await delay(writeEveryMs)
    }
  })()
  while (traffic.arrived(neighbour.path).size === 0) await delay(10)
  expect(await replicas.stop(holder)).toBe(0)
  await replicas.shared()
  ended.abort()
  await written
  await scene.delivered()
  expect(longestGap([...traffic.arrived(neighbour.path).values()])).toBeLessThan(longestGapMs)
  await replicas.stopAll()
}, 120_000)

function longestGap(times: readonly number[]): number {
  return Math.max(...times.map((at, index) => at - (times[index - 1] ?? at)))
}
