import postgres from 'postgres'
import { describe, expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startCluster } from '../support/cluster.ts'
import { briefLease, type LogLine, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { pgbouncerIsMissing, startPgBouncer } from '../support/pgbouncer.ts'
import { connect, whenDone } from '../support/postgres.ts'
import { seedOf } from '../support/random.ts'
import { startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'
import { startTroubled } from '../support/terminations.ts'

const seed = seedOf()
const quick = { ...briefLease, SPILLWAY_INTER_BATCH_DELAY_MS: '0' }

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

// Two hundred connections, which a busy machine makes slowly.
it('waits, and says so once, while the server has no connection left', { timeout: 240_000 }, async () => {
  const cluster = await startCluster()
  const sql = connect(cluster.url, 1)
  const receiver = await startReceiver()
  const places = fullTable(sql, cluster.url)
  whenDone(() => receiver.close())
  const daemon = await startDaemon(cluster.url, quick)
  const id = await insertDestination(sql, { url: receiver.url })
  const write = (count: number) =>
    sql`INSERT INTO spillway.request_audit_log (org_id) SELECT 'acme' FROM generate_series(1, ${count}::int)`
  await write(100)
  await settled(sql, id, null)

  // Held still meanwhile: it would be back before others have taken its places.
  daemon.kill('SIGSTOP')
  await places.occupy()
  daemon.kill('SIGCONT')
  await daemon.logged('database.unavailable', ({ database }) => database === 'state')
  await daemon.logged('lease.lost')
  // By now it has met every session that it lost.
  const known = daemon.lines.length
  await write(100)
  const delivered = receiver.requests.length
  await sql`SELECT pg_sleep(5)`
  expect(await sql`SELECT FROM pg_stat_activity WHERE application_name LIKE 'spillway%'`).toEqual([])
  const state = ({ event, database }: LogLine) => /^database[.]/.test(event) && database === 'state'
  expect(daemon.lines.slice(known).filter(state)).toEqual([])
  const said = daemon.lines.filter(({ event }) => event === 'database.unavailable')
  expect(said.map(({ message }) => message)).not.toContain('')
  await places.release()
  await write(100)
  await settled(sql, id, null)
  expect(await daemon.stop()).toBe(0)
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
  expect(receiver.requests.length).toBeGreaterThan(delivered)
  expect(said.length).toBeLessThanOrEqual(4)
  for (const database of ['state', 'source']) expect(repeatedly(daemon.lines, database)).toEqual([])
})

/** What was said of a database that had been said before. */
function repeatedly(lines: readonly LogLine[], database: string): LogLine[] {
  const told = lines.filter(
    (line) =>
      ['database.unavailable', 'database.recovered'].includes(line.event) && line.database === database,
  )
  return told.filter(({ event }, index) => event === (told[index - 1]?.event ?? 'database.recovered'))
}

/** Takes the daemon's sessions away, and every place that the server has. `sql` is the test's one connection. */
function fullTable(sql: postgres.Sql, url: string) {
  const holders: postgres.Sql[] = []
  const release = async () => {
    await Promise.all(holders.splice(0).map((holder) => holder.end({ timeout: 1 })))
  }
  whenDone(release)
  const takeWhatIsFree = async () => {
    for (;;) {
      const holder = postgres(url, { max: 1, onnotice: () => {}, connection: { application_name: 'holder' } })
      const refused = await holder`SELECT 1`.then(
        () => false,
        () => true,
      )
      if (refused) return holder.end({ timeout: 1 })
      holders.push(holder)
    }
  }
  const occupy = async () => {
    for (;;) {
      await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'spillway%'`
      await takeWhatIsFree()
      // Whoever still comes or goes has a place, and is in no list under its name: only a full count tells.
      const [row] = await sql<{ full: boolean }[]>`
        SELECT count(*) = current_setting('max_connections')::int AS full FROM pg_stat_activity
        WHERE pid = pg_backend_pid() OR application_name = 'holder'`
      if (row?.full) return
    }
  }
  return { occupy, release }
}
