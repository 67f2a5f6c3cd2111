import postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startCluster } from '../support/cluster.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { pgbouncerIsMissing, startPgBouncer } from '../support/pgbouncer.ts'
import { whenDone } from '../support/postgres.ts'
import { seedOf } from '../support/random.ts'
import { startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'
import { startTroubled } from '../support/terminations.ts'

const seed = seedOf()
const quick = { SPILLWAY_INTER_BATCH_DELAY_MS: '0' }

it(`loses nothing while its sessions are ended over and over (seed ${seed})`, async () => {
  const { daemon, terminate, finish } = await startTroubled({ seed, daemonUrl: async (url) => url })
  expect(await terminate(150, 8_000)).toBeGreaterThan(20)
  const { code, account } = await finish()
  expect(code).toBe(0)
  expect(account).toMatchObject(nothingWrong)
  expect(daemon.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([])
})

describe.each([
  ['directly', false],
  ['behind PgBouncer', true],
] as const)('%s', (_, pooled) => {
  it.skipIf(pooled && pgbouncerIsMissing)(
    'reads fewer rows at once when the role’s statement_timeout cancels a page, and says why',
    async () => {
      const { url, sql, receiver, write } = await createScene()
      // A column that takes its time to be written out.
      await sql.unsafe(`
        CREATE TYPE public.slow AS ENUM ('slow');
        CREATE FUNCTION public.slow_text(public.slow) RETURNS text LANGUAGE plpgsql AS
          $$ BEGIN PERFORM pg_sleep(0.02); RETURN 'slow'; END $$;
        CREATE CAST (public.slow AS text) WITH FUNCTION public.slow_text(public.slow);
        ALTER TABLE spillway.request_audit_log ADD COLUMN slow public.slow DEFAULT 'slow';
        ALTER DATABASE ${new URL(url).pathname.slice(1)} SET statement_timeout = '400ms';`)
      await insertDestination(sql, { url: receiver.url, name: 'first' })
      await write(80)
      const target = pooled ? (await startPgBouncer(url)).url : url
      const daemon = await startDaemon(target, quick)
      const [destination] = await sql<{ id: number }[]>`SELECT id::int FROM spillway.destinations`
      const said = await daemon.logged('destination.page_cancelled')
      expect(said).toMatchObject({ level: 'warn', message: expect.stringContaining('statement timeout') })
      await settled(sql, destination?.id ?? 0, null)
      expect(await daemon.stop()).toBe(0)
      expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
      expect(daemon.lines.filter(({ event }) => event === 'database.unavailable')).toEqual([])
      expect(daemon.lines.filter(({ event }) => event === 'destination.page_cancelled')).toHaveLength(1)
    },
  )
})

it('waits, and says so once, while the server has no connection left', async () => {
  const cluster = await startCluster()
  const sql = postgres(cluster.url, { max: 2, onnotice: () => {}, idle_timeout: 0 })
  const receiver = await startReceiver()
  const holders: postgres.Sql[] = []
  const release = async () => {
    await Promise.all(holders.splice(0).map((holder) => holder.end({ timeout: 1 })))
  }
  whenDone(async () => {
    await release()
    await sql.end({ timeout: 1 })
    await receiver.close()
  })
  const daemon = await startDaemon(cluster.url, quick)
  const id = await insertDestination(sql, { url: receiver.url })
  const write = (count: number) =>
    sql`INSERT INTO spillway.request_audit_log (org_id) SELECT 'acme' FROM generate_series(1, ${count}::int)`
  await write(100)
  await settled(sql, id, null)

  const occupy = async () => {
    for (;;) {
      const holder = postgres(cluster.url, { max: 1, onnotice: () => {} })
      const refused = await holder`SELECT 1`.then(
        () => false,
        () => true,
      )
      if (refused) return holder.end({ timeout: 1 })
      holders.push(holder)
    }
  }
  // Whoever is ended comes back at once; until the places are taken by others.
  let left: number
  do {
    await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'spillway%'`
    await occupy()
    const sessions = await sql`SELECT FROM pg_stat_activity WHERE application_name LIKE 'spillway%'`
    left = sessions.length
  } while (left > 0)
  await daemon.logged('database.unavailable', ({ database }) => database === 'state')
  await write(100)
  await sql`SELECT pg_sleep(5)`
  expect(await sql`SELECT FROM pg_stat_activity WHERE application_name LIKE 'spillway%'`).toEqual([])
  const delivered = receiver.requests.length
  await release()
  await write(100)
  await settled(sql, id, null)
  expect(await daemon.stop()).toBe(0)
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
  expect(receiver.requests.length).toBeGreaterThan(delivered)
  const said = daemon.lines.filter(({ event }) => event === 'database.unavailable')
  // One more where the daemon had come back for a moment before the places were taken.
  expect(said.length).toBeLessThanOrEqual(4)
  expect(said.map(({ message }) => message)).not.toContain('')
})
