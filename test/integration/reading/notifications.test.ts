import { setTimeout as delay } from 'node:timers/promises'
import postgres from 'postgres'
import { describe, expect, test } from 'vitest'
import { planInstall, planRemoval, readHintTarget, runPlan } from '../../../src/sources/hint-installer.ts'
import { Notifications } from '../../../src/sources/notifications.ts'
import type { SourceDefinition } from '../../../src/sources/source.ts'
import { startCluster } from '../../support/cluster.ts'
import { createTestDatabase, whenDone } from '../../support/postgres.ts'
import { needsPostgres } from '../../support/server-version.ts'
import { freshTable, Lines, sourcePool, watch } from './watching.ts'

const database = await createTestDatabase()
const { sql } = database
const pool = sourcePool(database.url)

function listen({ mayListen = true } = {}) {
  const lines = new Lines()
  const hints: string[] = []
  const stopping = new AbortController()
  const notifications = new Notifications({
    url: database.url,
    log: lines,
    mayListen: async () => mayListen,
    onHint: (logType) => hints.push(logType),
  })
  const running = notifications.run(stopping.signal)
  const stop = async () => {
    stopping.abort()
    await running
  }
  whenDone(stop)
  return { notifications, lines, hints, stop, said: () => lines.all.map(({ code }) => code) }
}

const listeners = () =>
  sql<{ pid: number }[]>`
    SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'spillway listener'`
const told = (payload: string) => sql`SELECT pg_notify('spillway_rows', ${payload})`

async function install({ relation, logType }: SourceDefinition): Promise<void> {
  const target = await readHintTarget(sql, relation, logType)
  if (!target) throw new Error('no table')
  await runPlan(sql, planInstall(target, logType))
}

describe('listening', () => {
  test('takes a connection only while a table has the trigger', async () => {
    const { notifications, said } = listen()
    await delay(50)
    expect(await listeners()).toHaveLength(0)
    notifications.setHinted('a', true)
    notifications.setHinted('b', true)
    await expect.poll(said).toEqual(['hints.started'])
    expect(await listeners()).toHaveLength(1)
    notifications.setHinted('a', false)
    notifications.setHinted('b', false)
    await expect.poll(said).toEqual(['hints.started', 'hints.stopped'])
    await expect.poll(listeners).toHaveLength(0)
  })

  test('looks at once at all that have it, for what was told before', async () => {
    const { notifications, hints } = listen()
    notifications.setHinted('a', true)
    await expect.poll(() => hints).toEqual(['a'])
    await told('b')
    await expect.poll(() => hints).toEqual(['a', 'b'])
  })

  test('begins anew when its connection is killed, and looks at all again', async () => {
    const { notifications, hints, said } = listen()
    notifications.setHinted('a', true)
    await expect.poll(said).toEqual(['hints.started'])
    await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'spillway listener'`
    await expect.poll(said, { timeout: 10_000 }).toEqual(['hints.started', 'hints.stopped', 'hints.started'])
    expect(hints).toEqual(['a', 'a'])
    await told('a')
    await expect.poll(() => hints).toEqual(['a', 'a', 'a'])
  })

  test('is left alone where it is of no use', async () => {
    const { notifications, said } = listen({ mayListen: false })
    notifications.setHinted('a', true)
    await delay(100)
    expect(await listeners()).toHaveLength(0)
    expect(said()).toEqual([])
  })

  test('ends with the daemon, whatever it does', async () => {
    const { notifications, stop, said } = listen()
    notifications.setHinted('a', true)
    await expect.poll(said).toEqual(['hints.started'])
    await stop()
    expect(said()).toEqual(['hints.started'])
  })
})

describe('a watcher', () => {
  const hour = { pollIntervalMs: 3_600_000 }

  test('tells whether its table has the trigger, from look to look', async () => {
    const definition = await freshTable(database)
    const hinted: boolean[] = []
    const onHinted = (_: string, state: boolean) => hinted.push(state)
    const watching = watch(pool, definition, undefined, {}, { onHinted })
    await watching.reached('0')
    await install(definition)
    await expect.poll(() => hinted).toEqual([true])
    await runPlan(sql, await planRemoval(sql, definition.logType))
    await expect.poll(() => hinted).toEqual([true, false])
    await install(definition)
    await expect.poll(() => hinted).toEqual([true, false, true])
    await sql.unsafe(`ALTER TABLE ${definition.relation} DISABLE TRIGGER ALL`)
    await expect.poll(() => hinted).toEqual([true, false, true, false])
    await sql.unsafe(`ALTER TABLE ${definition.relation} ENABLE TRIGGER ALL`)
    await expect.poll(() => hinted).toEqual([true, false, true, false, true])
    // The table is made anew, without it.
    await sql.unsafe(`CREATE TABLE ${definition.relation}_new (LIKE ${definition.relation} INCLUDING ALL)`)
    await sql.unsafe(
      `DROP TABLE ${definition.relation}; ALTER TABLE ${definition.relation}_new RENAME TO ${definition.relation.replace('public.', '')}`,
    )
    await expect.poll(() => hinted.length, { timeout: 20_000 }).toBe(6)
    await install(definition)
    await expect.poll(() => hinted.length).toBe(7)
    await watching.stop()
    expect(hinted.at(-1)).toBe(false)
  })

  test('reads what it is told of at once, and passes no open transaction for it', async () => {
    const definition = await freshTable(database)
    const insert = (client = sql) => client.unsafe(`INSERT INTO ${definition.relation} DEFAULT VALUES`)
    const watching = watch(pool, definition, undefined, {}, hour)
    await watching.reached('0')
    await insert()
    watching.watcher.hint()
    await watching.reached('1')
    const writer = postgres(database.url, { max: 1, onnotice: () => {} })
    whenDone(() => writer.end())
    await writer`begin`
    await insert(writer)
    await insert()
    watching.watcher.hint()
    await watching.looked(3)
    expect(watching.watcher.horizon).toBe('1')
    await writer`commit`
    // No hint is needed any more: the fence is pending.
    await watching.reached('3')
  })

  test('looks no more than every few milliseconds, however often it is told, and once after the last time', async () => {
    const definition = await freshTable(database)
    const watching = watch(pool, definition, undefined, {}, hour)
    await watching.reached('0')
    const before = watching.looks
    const began = performance.now()
    while (performance.now() - began < 300) {
      for (let hint = 0; hint < 100; hint += 1) watching.watcher.hint()
      await delay(1)
    }
    await sql.unsafe(`INSERT INTO ${definition.relation} DEFAULT VALUES`)
    watching.watcher.hint()
    await watching.reached('1')
    const ms = performance.now() - began
    expect(watching.looks - before).toBeGreaterThan(1)
    expect(watching.looks - before).toBeLessThanOrEqual(ms / 5 + 2)
    const settled = watching.looks
    await delay(100)
    // The row may have been seen by the look before the one for the last hint.
    expect(watching.looks - settled).toBeLessThanOrEqual(1)
  })
})

test('where a stuck session lets the queue fill up, the trigger falls silent and no INSERT fails', async (context) => {
  const cluster = await startCluster()
  const admin = postgres(cluster.url, { max: 2, onnotice: () => {} })
  whenDone(() => admin.end({ timeout: 1 }))
  // Before, the queue always holds 8 GB.
  await needsPostgres(context, admin, 17, 'max_notify_queue_pages')
  await admin`ALTER SYSTEM SET max_notify_queue_pages = 64`
  await cluster.stop('fast')
  await cluster.start()
  const target = await readHintTarget(admin, 'spillway.request_audit_log', 'request')
  if (!target) throw new Error('no table')
  await runPlan(admin, planInstall(target, 'request'))
  const stuck = postgres(cluster.url, { max: 1, onnotice: () => {} })
  whenDone(() => stuck.end({ timeout: 1 }))
  await stuck`LISTEN other`
  await stuck`begin`
  await stuck`SELECT 1`
  const fill = () => admin`SELECT pg_notify('other', repeat('x', 7000) || g) FROM generate_series(1, 20) g`
  const filled = async () => {
    for (;;) await fill()
  }
  await expect(filled()).rejects.toThrow('too many notifications')
  const insert = () => admin`INSERT INTO spillway.request_audit_log (org_id) VALUES ('acme')`
  for (let row = 0; row < 300; row += 1) await insert()
  await stuck`rollback`
})
