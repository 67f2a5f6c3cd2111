/** What others do to the rows that replicas share by: locks, deletions, limits of the role, a crash in the middle. */
import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { session } from '../../support/postgres.ts'
import { seedOf } from '../../support/random.ts'
import { ReplicaScene, type ReplicaSceneOptions } from '../../support/replicas/scene.ts'
import { overlaps } from '../../support/replicas/traffic.ts'

const seed = seedOf()

/** Replicas with work to do, while `deed` is done. */
async function during(
  deed: (scene: ReplicaScene, operator: postgres.Sql) => Promise<void>,
  { role, ...options }: Partial<ReplicaSceneOptions> & { role?: Record<string, string> } = {},
): Promise<ReplicaScene> {
  const scene = await ReplicaScene.create({
    destinations: 70,
    answer: () => ({ status: 200, afterMs: 20 }),
    ...options,
  })
  const operator = session(scene.url)
  await scene.replicas.startMany(2, role ? { role } : {})
  const writing = new AbortController()
  const written = scene.write(seed, 4, writing.signal, 60)
  await deed(scene, operator)
  writing.abort()
  await written
  await scene.delivered()
  await scene.replicas.shared()
  const { running } = scene.replicas
  expect(await scene.replicas.stopAll()).toEqual(running.map(() => 0))
  expect((await scene.accounts()).wrong).toEqual({})
  expect(await scene.notDelivered()).toEqual([])
  expect(await scene.watch.trespasses()).toEqual([])
  return scene
}

const pause = (sql: postgres.Sql, seconds: number) => sql`SELECT pg_sleep(${seconds})`

it('a lease and a replica that somebody has locked keep no others from being renewed, whatever limits the role has', async () => {
  const deed = async ({ sql }: ReplicaScene, operator: postgres.Sql) => {
    await operator.begin(async (tx) => {
      const [row] = await tx`SELECT shard FROM spillway.leases WHERE owner IS NOT NULL LIMIT 1 FOR UPDATE`
      await tx`SELECT FROM spillway.replicas LIMIT 1 FOR UPDATE`
      // For two lease times.
      await pause(sql, 4)
      const [held] = await sql`
        SELECT count(*)::int AS leases FROM spillway.leases WHERE owner IS NOT NULL AND expires_at > clock_timestamp()`
      expect({ ...row, ...held }).toMatchObject({ leases: 63 })
    })
  }
  const { replicas, traffic } = await during(deed, {
    role: { statement_timeout: '2s', lock_timeout: '500ms' },
  })
  const lost = replicas.lines.filter(({ event }) => event === 'lease.lost')
  expect(lost).toMatchObject([{ count: 1, reason: 'expired' }])
  expect(overlaps(traffic.exchanges)).toEqual([])
}, 120_000)

it('leases and replicas that somebody deletes come back, and nobody is sent anything twice at once', async () => {
  const { traffic, watch } = await during(async ({ sql, replicas }, operator) => {
    await operator`DELETE FROM spillway.leases`
    await pause(sql, 1)
    await replicas.shared()
    await operator`TRUNCATE spillway.leases, spillway.replicas`
    await pause(sql, 1)
    await replicas.shared()
    await operator`DELETE FROM spillway.leases WHERE shard % 3 = 0`
    await operator`DELETE FROM spillway.replicas`
    await pause(sql, 1)
    await replicas.shared()
  })
  expect(overlaps(traffic.exchanges)).toEqual([])
  const tenures = await watch.tenures()
  expect(new Set(tenures.map(({ shard, epoch }) => `${shard}/${epoch}`)).size).toBe(tenures.length)
}, 120_000)

it('what a replica was just taking when it was killed is taken by others after the lease time', async () => {
  await during(async ({ sql, replicas }, operator) => {
    await sql.unsafe(`
      CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF session_user LIKE '%_2' THEN PERFORM pg_advisory_xact_lock(4711); END IF;
        RETURN NEW;
      END $$;
      CREATE TRIGGER dawdle BEFORE UPDATE ON spillway.leases FOR EACH ROW
        WHEN (NEW.epoch <> OLD.epoch) EXECUTE FUNCTION public.dawdle()`)
    await operator`SELECT pg_advisory_lock(4711)`
    const third = await replicas.spawn()
    const waiting = () => sql`
      SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE a.usename = ${third.login} AND l.locktype = 'advisory' AND NOT l.granted`
    while ((await waiting()).length === 0) await pause(sql, 0.02)
    replicas.kill(third)
    await third.process.exited
    await operator`SELECT pg_advisory_unlock(4711)`
    await replicas.shared()
  })
}, 120_000)
