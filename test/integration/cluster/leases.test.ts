import { randomUUID } from 'node:crypto'
import { beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { LeaseStore, type Run } from '../../../src/cluster/lease-store.ts'
import { Leases } from '../../../src/cluster/leases.ts'
import { Availability } from '../../../src/db/availability.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { until } from '../../support/until.ts'
import { Lines } from '../reading/watching.ts'

const { sql } = await createTestDatabase()
const defaultLeaseMs = 1_000

interface Options {
  readonly leaseMs?: number
  /** What the first taking waits for. */
  readonly taking?: Promise<unknown>
}

interface Replica {
  readonly id: string
  readonly leases: Leases
  readonly lines: Lines
  /** Shards under which work goes on. */
  readonly working: Set<number>
  /** Stands in the way of its statements, before they are sent or before their answer is heard. */
  interfere: Run | undefined
  /** What a leave waits for. */
  leaving: Promise<unknown>
  /** Ends without giving anything back. */
  die(): void
}

const direct: Run = async (statement) => statement(sql)
const unreachable: Run = async () => {
  throw Object.assign(new Error('unreachable'), { code: 'ECONNREFUSED' })
}

async function start(options: Options = {}): Promise<Replica> {
  const leaseMs = options.leaseMs ?? defaultLeaseMs
  const id = randomUUID()
  const lines = new Lines()
  const working = new Set<number>()
  const dying = new AbortController()
  const store = new LeaseStore(
    (statement) => (replica.interfere ?? direct)(statement),
    { id, host: 'test', version: '1' },
    leaseMs,
  )
  const leases = new Leases({
    id,
    store,
    leaseMs,
    graceMs: 10_000,
    clock: systemClock,
    log: lines,
    availability: new Availability(lines, 'state'),
    async onTaken(shards) {
      for (const shard of shards) {
        // The work under the former lease has come to its end.
        expect(working.has(shard)).toBe(false)
        working.add(shard)
      }
      await options.taking
    },
    async onLeave(shard, graceMs) {
      if (graceMs > 0) await replica.leaving
      working.delete(shard)
    },
  })
  const replica: Replica = {
    id,
    leases,
    lines,
    working,
    interfere: undefined,
    leaving: Promise.resolve(),
    die: () => {
      dying.abort()
      working.clear()
    },
  }
  await leases.start(dying.signal)
  const running = leases.run(dying.signal)
  whenDone(async () => {
    dying.abort()
    await running
  })
  return replica
}

/** As the database has it, by its own clock. */
async function owners(): Promise<Map<string, number>> {
  const rows = await sql<{ owner: string; shards: number }[]>`
    SELECT owner::text AS owner, count(*)::int AS shards FROM spillway.leases
    WHERE expires_at > clock_timestamp() GROUP BY owner`
  return new Map(rows.map(({ owner, shards }) => [owner, shards]))
}

/** What was said of leases that were lost. */
const lost = ({ lines }: Replica) =>
  lines.all.flatMap(({ code, fields }) => (code === 'lease.lost' ? [fields] : []))

beforeEach(async () => {
  await sql`DELETE FROM spillway.replicas`
  await sql`UPDATE spillway.leases SET owner = NULL, expires_at = '-infinity'`
})

test('one alone holds all shards when it has started', async () => {
  const { leases, working } = await start()
  expect(leases.serving).toHaveLength(64)
  expect(working.size).toBe(64)
  expect(leases.problems).toEqual([])
})

test('a newcomer gets its share, and no other shard moves', async () => {
  const [a, b] = [await start(), await start()]
  await until(() => a.working.size === 32 && b.working.size === 32)
  const kept = [new Set(a.working), new Set(b.working)]
  const c = await start()
  await until(() => c.working.size === 21 && a.working.size + b.working.size === 43)
  expect([...a.working].every((shard) => kept[0]?.has(shard))).toBe(true)
  expect([...b.working].every((shard) => kept[1]?.has(shard))).toBe(true)
  expect(await owners()).toEqual(new Map([a, b, c].map(({ id, working }) => [id, working.size])))
})

test('what is given up is free only when all work under it has ended', async () => {
  const a = await start()
  const settled = Promise.withResolvers<void>()
  a.leaving = settled.promise
  const b = await start()
  await until(() => a.leases.serving.length === 32)
  // Longer than a lease: it is renewed meanwhile.
  await sql`SELECT pg_sleep(1.5)`
  expect([a.working.size, b.working.size]).toEqual([64, 0])
  settled.resolve()
  await until(() => a.working.size === 32 && b.working.size === 32)
  expect(lost(a)).toEqual([])
})

test('one that leaves hands over at once', async () => {
  const leaseMs = 10_000
  const [a, b] = [await start({ leaseMs }), await start({ leaseMs })]
  await until(() => b.working.size === 32)
  await a.leases.leave(1_000)
  expect(a.working.size).toBe(0)
  expect(await until(() => b.working.size === 64)).toBeLessThan(leaseMs / 2)
})

test('the shards of one that has died are taken when its leases are over, and not before', async () => {
  const [a, b] = [await start(), await start()]
  await until(() => a.working.size === 32 && b.working.size === 32)
  const [before] = await sql<{ left: number }[]>`
    SELECT extract(epoch FROM min(expires_at) - clock_timestamp())::float8 * 1000 AS left FROM spillway.leases WHERE owner = ${a.id}`
  a.die()
  const tookMs = await until(() => b.working.size === 64)
  expect(tookMs).toBeGreaterThan((before?.left ?? defaultLeaseMs) - 20)
  expect(tookMs).toBeLessThan(defaultLeaseMs * 2)
})

test('without the database all work ends before the leases do, and begins anew when it is back', async () => {
  const a = await start()
  a.interfere = unreachable
  await until(() => a.working.size === 0)
  expect(lost(a)).toMatchObject([{ reason: 'expired', count: 64, held: 0 }])
  // By the database's clock they are still a.s: nobody else can have taken them.
  expect(await owners()).toEqual(new Map([[a.id, 64]]))
  expect(a.leases.problems).toEqual([])
  await until(() => a.leases.problems.length > 0)
  expect(a.leases.problems).toEqual(['leases: they cannot be renewed'])
  a.interfere = undefined
  await until(() => a.working.size === 64)
  expect(a.leases.problems).toEqual([])
})

test('a lease that the database has given to somebody else ends with the next renewal', async () => {
  const a = await start()
  await sql`UPDATE spillway.leases SET owner = ${randomUUID()}, epoch = epoch + 1 WHERE shard < 10`
  await until(() => a.working.size === 54)
  expect(lost(a)).toMatchObject([{ reason: 'taken_over', shards: '0-9' }])
})

test('shards whose acquisition was never heard of are used all the same', async () => {
  const a = await start()
  // What the statement does whose answer is lost.
  await sql`
    UPDATE spillway.leases SET owner = ${a.id}, epoch = epoch + 1, expires_at = clock_timestamp() + interval '1 second'`
  await until(() => a.working.size === 0)
  await until(() => a.working.size === 64)
  const [row] = await sql<
    { epoch: string }[]
  >`SELECT epoch::text AS epoch FROM spillway.leases WHERE shard = 0`
  expect(a.leases.of(0)?.epoch).toBe(row?.epoch)
})

test('deleted leases and replicas come back', async () => {
  const a = await start()
  await sql`DELETE FROM spillway.leases`
  await sql`DELETE FROM spillway.replicas`
  await until(() => a.working.size === 0)
  await until(() => a.working.size === 64)
  expect(await owners()).toEqual(new Map([[a.id, 64]]))
})

test('one that leaves while it takes shards gives those back too', async () => {
  const [a, b] = [await start(), await start()]
  await until(() => b.working.size === 32)
  const heard = Promise.withResolvers<void>()
  b.interfere = async (statement) => {
    const answer = await direct(statement)
    if ((await owners()).get(b.id) === 64) await heard.promise
    return answer
  }
  await a.leases.leave(1_000)
  await until(async () => (await owners()).get(b.id) === 64)
  const left = b.leases.leave(1_000)
  heard.resolve()
  await left
  expect(await owners()).toEqual(new Map())
  expect(b.working.size).toBe(0)
})

test('leases are renewed while the first ones are being taken up', async () => {
  const taking = Promise.withResolvers<void>()
  const starting = start({ taking: taking.promise })
  await until(async () => [...(await owners()).values()].includes(64))
  // Longer than a lease.
  await sql`SELECT pg_sleep(1.5)`
  taking.resolve()
  const a = await starting
  expect(lost(a)).toEqual([])
  expect(a.leases.serving).toHaveLength(64)
})

test('leases that are gone are noticed at the next look, long before they are due for renewal', async () => {
  const a = await start({ leaseMs: 60_000 })
  // As when the database's clock was set forward.
  await sql`UPDATE spillway.leases SET owner = ${randomUUID()}, epoch = epoch + 1 WHERE shard < 10`
  expect(await until(() => a.working.size === 54)).toBeLessThan(5_000)
  await sql`DELETE FROM spillway.replicas`
  await sql`UPDATE spillway.leases SET owner = ${randomUUID()}, epoch = epoch + 1 WHERE shard < 20`
  expect(await until(() => a.working.size === 44)).toBeLessThan(5_000)
})
