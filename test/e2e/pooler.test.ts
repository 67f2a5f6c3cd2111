import type postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { createAuditTable, variants } from '../support/audit-table.ts'
import { briefLease, type DaemonProcess, spawnDaemon, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { type PgBouncer, pgbouncerIsMissing, startPgBouncer } from '../support/pgbouncer.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { seedOf } from '../support/random.ts'
import { createScene } from '../support/scene.ts'
import { startTroubled } from '../support/terminations.ts'
import { writeAudit } from '../support/writers/writers.ts'

const orgs = ['acme', 'globex', 'initech'] as const
const seed = seedOf()
const quick = { ...briefLease, SPILLWAY_INTER_BATCH_DELAY_MS: '0' }
const ignored = ['extra_float_digits', 'row_security', 'IntervalStyle', 'bytea_output']

function count({ lines }: DaemonProcess, event: string, database?: string): number {
  return lines.filter(
    (line) => line.event === event && (database === undefined || line.database === database),
  ).length
}

/** Waits until live replicas hold so many shards, the fewest first. */
async function holding(sql: postgres.Sql, shares: readonly number[]): Promise<void> {
  const held = () => sql<{ shards: number }[]>`
    SELECT count(*)::int AS shards FROM spillway.leases
    WHERE owner IS NOT NULL AND expires_at > clock_timestamp() GROUP BY owner ORDER BY 1`
  while (String((await held()).map(({ shards }) => shards)) !== String(shares))
    await sql`SELECT pg_sleep(0.05)`
}

function errors({ lines }: DaemonProcess) {
  return lines.filter(({ level }) => level === 'error' || level === 'fatal')
}

describe.skipIf(pgbouncerIsMissing)('behind PgBouncer in transaction mode', () => {
  it.each([
    ['refuses', []],
    ['drops', ignored],
  ] as const)(
    `delivers every committed row once and in order, where it %s unknown parameters (seed ${seed})`,
    async (_, ignore) => {
      const { url, sql, receiver } = await createScene()
      const table = await createAuditTable(sql, variants[0], orgs)
      const bouncer = await startPgBouncer(url, { ignore })
      // Nobody takes over here, and a busy machine may take longer for an answer than a short lease lets it.
      const daemon = await startDaemon(bouncer.url, { ...quick, SPILLWAY_LEASE_MS: '15000' })
      const id = await insertDestination(sql, { url: receiver.url, logTypes: [table.logType] })
      await writeAudit({ url, table, seed, writers: 10, transactions: 40, orgs, longestPauseMs: 200 })
      await settled(sql, id, null, table)
      expect(await daemon.stop()).toBe(0)
      expect(await account(sql, receiver.requests, null, { table })).toMatchObject({
        ...nothingWrong,
        repeatedBatches: 0,
      })
      expect(count(daemon, 'database.pooler_found')).toBe(1)
      expect(count(daemon, 'database.unavailable')).toBe(0)
      expect(errors(daemon)).toEqual([])
    },
  )

  it(`loses nothing while its sessions are ended and the pooler is restarted (seed ${seed})`, async () => {
    let bouncer: PgBouncer | undefined
    const daemonUrl = async (url: string) => {
      bouncer = await startPgBouncer(url)
      return bouncer.url
    }
    const { sql, daemon, terminate, finish } = await startTroubled({ seed, daemonUrl })
    expect(await terminate(200, 5_000)).toBeGreaterThan(10)
    const terms = count(daemon, 'lease.acquired')
    await daemon.logged('database.recovered')
    await bouncer?.stop()
    const lost = daemon.lines.length
    // Longer than a lease.
    await sql`SELECT pg_sleep(3)`
    const said = daemon.lines.slice(lost).filter(({ database }) => database === 'state')
    await bouncer?.start()
    await sql`SELECT pg_sleep(1)`
    const { code, account } = await finish()
    expect(code).toBe(0)
    expect(account).toMatchObject(nothingWrong)
    expect(terms).toBeGreaterThan(0)
    expect(said.map(({ event }) => event).filter((event) => event === 'database.recovered')).toEqual([])
    expect(count(daemon, 'lease.lost')).toBeGreaterThan(0)
    expect(errors(daemon)).toEqual([])
  })

  it('replicas share, with and without the pooler, and take over from one that was killed', async () => {
    const { url, sql, receiver, write } = await createScene()
    const bouncer = await startPgBouncer(url, { poolSize: 3 })
    const id = await insertDestination(sql, { url: receiver.url })
    const ways = [bouncer.url, url, bouncer.url]
    let former = await startDaemon(bouncer.url, quick)
    for (const way of ways) {
      const next = await startDaemon(way, quick)
      await holding(sql, [32, 32])
      await write(5)
      await settled(sql, id, null)
      former.kill('SIGKILL')
      await holding(sql, [64])
      await write(5)
      await settled(sql, id, null)
      former = next
    }
    expect(await former.stop()).toBe(0)
    expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
  })

  it('one of several that start on an empty database migrates it, all share, and a stopped one hands over', async () => {
    const { url, sql } = await createTestDatabase({ empty: true })
    const bouncer = await startPgBouncer(url)
    // Longer than the test: what changes hands was handed over.
    const env = { ...quick, SPILLWAY_LEASE_MS: '120000' }
    const daemons = [1, 2, 3].map(() => spawnDaemon(bouncer.url, env))
    const migrated = await Promise.all(daemons.map((daemon) => daemon.logged('database.migrated')))
    expect(migrated.filter(({ applied }) => (applied as string[]).length > 0)).toHaveLength(1)
    await holding(sql, [21, 21, 22])
    expect(await daemons.shift()?.stop()).toBe(0)
    await holding(sql, [32, 32])
    expect(await Promise.all(daemons.map((daemon) => daemon.stop()))).toEqual([0, 0])
    await holding(sql, [])
    expect(daemons.map((daemon) => count(daemon, 'lease.lost'))).toEqual([0, 0])
    expect(await sql`SELECT FROM spillway.destinations`).toEqual([])
  })

  it('works with one session for two replicas: a lease is a row and needs none of its own', async () => {
    const { url, sql, receiver, write } = await createScene()
    const bouncer = await startPgBouncer(url, { poolSize: 1 })
    const ids = [
      await insertDestination(sql, { url: `${receiver.url}/acme`, org: 'acme' }),
      await insertDestination(sql, { url: `${receiver.url}/globex`, org: 'globex' }),
    ] as const
    await write(50)
    const daemons = [await startDaemon(bouncer.url, quick), await startDaemon(bouncer.url, quick)]
    await holding(sql, [32, 32])
    for (const org of ['acme', 'globex']) await write(250, org)
    await settled(sql, ids[0], 'acme')
    await settled(sql, ids[1], 'globex')
    for (const daemon of daemons) {
      expect(await daemon.stop()).toBe(0)
      expect(count(daemon, 'lease.lost')).toBe(0)
      expect(count(daemon, 'database.unavailable')).toBe(0)
    }
    for (const org of ['acme', 'globex']) {
      const requests = receiver.requests.filter(({ path }) => path === `/${org}`)
      expect(await account(sql, requests, org)).toMatchObject(nothingWrong)
    }
  })

  it('keeps the lease although the database ends idle and long transactions', async () => {
    const { url, sql, receiver, write } = await createScene()
    const name = new URL(url).pathname.slice(1)
    await sql.unsafe(`
      ALTER DATABASE ${name} SET idle_in_transaction_session_timeout = '200ms';
      ALTER DATABASE ${name} SET transaction_timeout = '1s';
      ALTER DATABASE ${name} SET statement_timeout = '1s';`)
    const bouncer = await startPgBouncer(url)
    const daemon = await startDaemon(bouncer.url, quick)
    const id = await insertDestination(sql, { url: receiver.url })
    await write(100)
    await sql`SELECT pg_sleep(4)`
    await write(100)
    await settled(sql, id, null)
    expect(await daemon.stop()).toBe(0)
    expect(count(daemon, 'lease.lost')).toBe(0)
    expect(count(daemon, 'database.unavailable')).toBe(0)
    expect(await account(sql, receiver.requests, null)).toMatchObject({ ...nothingWrong, repeatedBatches: 0 })
  })
})
