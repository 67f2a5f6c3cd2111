import { randomUUID } from 'node:crypto'
import postgres from 'postgres'
import { beforeEach, describe, expect, test } from 'vitest'
import { findReplicas, LeaseStore } from '../../../src/cluster/lease-store.ts'
import { FleetStore } from '../../../src/delivery/fleet-store.ts'
import { LeaseLostError } from '../../../src/errors.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { until } from '../../support/until.ts'
import { makeSource } from '../schema/rows.ts'

const database = await createTestDatabase()
const { sql, url } = database
const minute = 60_000

function replica(leaseMs = minute) {
  const id = randomUUID()
  const store = new LeaseStore(
    async (statement) => statement(sql),
    { id, host: 'test', version: '1' },
    leaseMs,
  )
  return { id, store }
}

const shardsOf = (leases: readonly { shard: number }[]) =>
  leases.map(({ shard }) => shard).sort((a, b) => a - b)
const expire = (id: string) =>
  sql`UPDATE spillway.leases SET expires_at = clock_timestamp() WHERE owner = ${id}`

beforeEach(async () => {
  await sql`DELETE FROM spillway.replicas`
  await sql`UPDATE spillway.leases SET owner = NULL, expires_at = '-infinity'`
  await replica().store.beginEra()
})

describe('shards', () => {
  test('are taken once, by whoever comes first', async () => {
    const [a, b] = [replica(), replica()]
    const [first, second] = await Promise.all([a.store.acquire(40, []), b.store.acquire(40, [])])
    const taken = shardsOf([...first, ...second])
    expect(new Set(taken).size).toBe(taken.length)
    // What was locked by one is passed over by the other, who asks again.
    const rest = await b.store.acquire(64, [])
    expect(shardsOf([...first, ...second, ...rest])).toEqual(Array.from({ length: 64 }, (_, index) => index))
  })

  test('are not taken while they are held, and under a higher epoch once their time is over', async () => {
    const [a, b] = [replica(), replica()]
    const [lease] = await a.store.acquire(1, [])
    const other = await b.store.acquire(64, [])
    expect(shardsOf(other)).not.toContain(lease?.shard)
    await expire(a.id)
    const [taken] = await b.store.acquire(64, [])
    expect(taken).toEqual({ shard: lease?.shard, owner: b.id, epoch: `${Number(lease?.epoch) + 1}` })
  })

  test('are free at once when they are given back', async () => {
    const [a, b] = [replica(), replica()]
    const [lease] = await a.store.acquire(1, [])
    if (!lease) throw new Error('there was no shard')
    await a.store.release(lease)
    expect(shardsOf(await b.store.acquire(64, []))).toContain(lease.shard)
    // It is somebody else's now.
    await a.store.release(lease)
    expect((await b.store.renew(true)).length).toBe(64)
  })

  test('that are to be left alone are left alone', async () => {
    expect(shardsOf(await replica().store.acquire(64, [3, 5]))).not.toContain(3)
  })

  test('whose rows were deleted are made anew', async () => {
    await sql`DELETE FROM spillway.leases WHERE shard IN (7, 63)`
    const { store } = replica()
    expect((await store.look()).free).toBe(64)
    expect((await store.acquire(64, [])).length).toBe(62)
    await store.restoreShards()
    // Whoever held them may trust in them for the rest of their time.
    expect(await store.acquire(64, [])).toEqual([])
    await sql`UPDATE spillway.leases SET expires_at = clock_timestamp() WHERE shard IN (7, 63)`
    expect(shardsOf(await store.acquire(64, []))).toEqual([7, 63])
  })
})

describe('a renewal', () => {
  test('prolongs what is held, and brings back nothing that has ended', async () => {
    const a = replica()
    const [first, second] = await a.store.acquire(2, [])
    await sql`UPDATE spillway.leases SET expires_at = clock_timestamp() WHERE shard = ${first?.shard ?? -1}`
    expect(await a.store.renew(true)).toMatchObject([second ?? {}])
  })

  test('waits for no write of delivery', async () => {
    const a = replica()
    await a.store.acquire(1, [])
    const writer = postgres(url, { max: 1, onnotice: () => {} })
    whenDone(() => writer.end())
    await writer.begin(async (transaction) => {
      await transaction`SELECT FROM spillway.leases WHERE owner = ${a.id} FOR KEY SHARE`
      expect(await a.store.renew(true)).toHaveLength(1)
    })
  })
})

describe('what everybody sees', () => {
  test('are live replicas with their shards, and how many are free', async () => {
    const [a, b, gone] = [replica(), replica(), replica(1)]
    for (const { store } of [a, b, gone]) await store.renew(true)
    await a.store.acquire(10, [])
    await gone.store.acquire(5, [])
    await sql`SELECT pg_sleep(0.01)`
    const { holdings, free } = await b.store.look()
    expect(holdings).toHaveLength(2)
    expect(holdings).toContainEqual({ replica: a.id, shards: 10 })
    expect(holdings).toContainEqual({ replica: b.id, shards: 0 })
    expect(free).toBe(54)
  })

  test('is no replica that has left, although it still holds what it is about to give back', async () => {
    const [a, b] = [replica(), replica()]
    for (const { store } of [a, b]) await store.renew(true)
    await a.store.acquire(64, [])
    await a.store.leave()
    expect(await a.store.renew(false)).toHaveLength(64)
    expect(await b.store.look()).toMatchObject({ holdings: [{ replica: b.id, shards: 0 }], free: 0 })
    expect(await findReplicas(sql)).toEqual([{ host: 'test', shards: 0 }])
  })
})

describe('a write of delivery', () => {
  const begin = async () => {
    const source = await makeSource(database)
    const id = await source.destination()
    const owner = replica()
    const [row] = await sql<{ shard: number }[]>`SELECT spillway.shard_of(${id}) AS shard`
    const leases = await owner.store.acquire(64, [])
    const lease = leases.find(({ shard }) => shard === row?.shard)
    if (!lease) throw new Error('the shard is not free')
    const fleet = new FleetStore(sql)
    const cursor = (await fleet.load([id])).get(id)?.cursors.get(source.logType)
    const to = (position: string) => ({
      destinationId: id,
      logType: source.logType,
      life: cursor?.life ?? '',
      from: cursor?.position ?? '',
      fromFrozen: [],
      to: position,
      frozen: [],
      divided: undefined,
      skipped: [{ from: '0', to: position, count: 1, reason: 'too_old' }],
      deadLetters: [],
      accepted: 1,
      durable: true,
    })
    const position = async () => (await fleet.load([id])).get(id)?.cursors.get(source.logType)?.position
    const ledger = async () =>
      (await sql`SELECT FROM spillway.skipped_ranges WHERE destination_id = ${id}`).length
    return { id, source, owner, lease, fleet, to, position, ledger }
  }
  const held = { isHeld: true }

  test('is made while the lease is held', async () => {
    const { fleet, lease, to, position, ledger } = await begin()
    await fleet.under({ ...lease, ...held }).move(to('10'))
    expect([await position(), await ledger()]).toEqual(['10', 1])
  })

  test.each([
    ['its time is over', async ({ owner }) => void (await expire(owner.id))],
    [
      'another replica has it',
      async ({ owner }) => {
        await expire(owner.id)
        await replica().store.acquire(64, [])
      },
    ],
    [
      'the same replica has it under a later epoch',
      async ({ owner }) => {
        await expire(owner.id)
        await owner.store.acquire(64, [])
      },
    ],
    ['it was given back', async ({ owner, lease }) => void (await owner.store.release(lease))],
    [
      'the leases were deleted',
      async () => void (await sql`UPDATE spillway.leases SET owner = NULL, epoch = 0`),
    ],
  ] satisfies [string, (scene: Awaited<ReturnType<typeof begin>>) => Promise<void>][])(
    'is refused when %s, and leaves nothing in the ledger',
    async (_, happen) => {
      const scene = await begin()
      const { id, fleet, lease, to, position, ledger, source } = scene
      await happen(scene)
      const store = fleet.under({ ...lease, ...held })
      const before = await sql`SELECT * FROM spillway.delivery_state WHERE destination_id = ${id}`
      await expect(store.move(to('10'))).rejects.toThrow(LeaseLostError)
      const [row] = await sql<{ revision: string }[]>`
        SELECT version || '/' || changed_xid AS revision FROM spillway.destinations WHERE id = ${id}`
      const revision = row?.revision ?? ''
      const health = {
        status: 'backing_off',
        consecutiveFailures: 3,
        firstFailedAt: 1,
        nextAttemptAt: 2,
        lastErrorAt: 1,
      } as const
      await store.saveFailure(id, revision, health, 'late')
      await store.markInvalid(id, revision, 'late')
      await store.markUsable(id)
      await store.disable(id, revision, 'late')
      await store.clearDisabledTime(id, source.logType)
      await store.seed(id, 'action', '0')
      let advanced = false
      const idle = {
        destinationId: id,
        logType: source.logType,
        life: to('9').life,
        from: to('9').from,
        to: '9',
      }
      await fleet.advance([{ ...idle, lease: { ...lease, ...held }, done: () => (advanced = true) }])
      await fleet.saveLags([{ destinationId: id, events: 5, seconds: 5 }], [lease])
      expect([await position(), await ledger(), advanced]).toEqual([to('10').from, 0, false])
      expect(await sql`SELECT * FROM spillway.delivery_state WHERE destination_id = ${id}`).toEqual(before)
      const [{ enabled } = {}] = await sql`SELECT enabled FROM spillway.destinations WHERE id = ${id}`
      expect(enabled).toBe(true)
      expect(await sql`SELECT FROM spillway.cursors WHERE destination_id = ${id}`).toHaveLength(1)
    },
  )

  test('that is under way keeps the lease from being taken, and is seen by whoever takes it afterwards', async () => {
    const { owner, lease, to, position } = await begin()
    const slow = postgres(url, { max: 1, onnotice: () => {} })
    const blocker = postgres(url, { max: 1, onnotice: () => {} })
    whenDone(() => slow.end())
    whenDone(() => blocker.end())
    const release = Promise.withResolvers<void>()
    const locked = Promise.withResolvers<void>()
    const blocking = blocker.begin(async (transaction) => {
      await transaction`SELECT FROM spillway.cursors FOR UPDATE`
      locked.resolve()
      await release.promise
    })
    await locked.promise
    const moving = new FleetStore(slow).under({ ...lease, ...held }).move(to('10'))
    moving.catch(() => {})
    await until(async () => {
      const [waiting] = await sql`
        SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%UPDATE spillway.cursors%'`
      return waiting !== undefined
    })
    await expire(owner.id)
    const next = replica()
    expect(shardsOf(await next.store.acquire(64, []))).not.toContain(lease.shard)
    release.resolve()
    await Promise.all([blocking, moving])
    expect(shardsOf(await next.store.acquire(64, []))).toEqual([lease.shard])
    expect(await position()).toBe('10')
  })
})
