/** Each failure that must show in `/readyz` is made, and seen there within 30 s; and its end as soon. */
import type postgres from 'postgres'
import { expect, it } from 'vitest'
import { startCluster } from '../support/cluster.ts'
import { type DaemonProcess, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled, stateOf } from '../support/destinations.ts'
import { createTestDatabase, session } from '../support/postgres.ts'
import { createScene } from '../support/scene.ts'
import { beside } from '../support/shared-scene.ts'
import { startTcpProxy } from '../support/tcp-proxy.ts'

const withinMs = 30_000
const quick = { SPILLWAY_INTER_BATCH_DELAY_MS: '0' }

interface Answer {
  readonly status: number
  readonly body: { readonly status: string; readonly problems: readonly string[] }
}

async function ask(daemon: DaemonProcess, path = '/readyz'): Promise<Answer> {
  const { http } = await daemon.logged('daemon.started')
  const response = await fetch(`${http}${path}`)
  return { status: response.status, body: (await response.json()) as Answer['body'] }
}

/** The first answer that fits; fails when it takes too long. */
async function turns(daemon: DaemonProcess, fits: (answer: Answer) => boolean): Promise<Answer> {
  const began = performance.now()
  for (;;) {
    const answer = await ask(daemon)
    if (fits(answer)) return answer
    if (performance.now() - began > withinMs) {
      throw new Error(`after ${withinMs} ms it still says ${JSON.stringify(answer)}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 200))
  }
}

const ready = (daemon: DaemonProcess) =>
  turns(daemon, ({ status, body }) => status === 200 && body.status === 'ready' && body.problems.length === 0)

/** Problem sentences end up with operators: none may hold what the URL holds. */
async function unready(daemon: DaemonProcess, problem: RegExp): Promise<Answer> {
  const answer = await turns(
    daemon,
    ({ status, body }) => status === 503 && body.problems.some((each) => problem.test(each)),
  )
  expect(answer.body.status).toBe('not ready')
  expect(JSON.stringify(answer.body)).not.toContain('://')
  // Alive it is all the while.
  expect((await ask(daemon, '/livez')).status).toBe(200)
  return answer
}

/** With a separate source a cursor is there only when the daemon has started it, and rows from before are not sent. */
async function served(sql: postgres.Sql, id: number): Promise<void> {
  while ((await sql`SELECT FROM spillway.cursors WHERE destination_id = ${id}`).length === 0) {
    await sql`SELECT pg_sleep(0.05)`
  }
}

async function delivered(sql: postgres.Sql, id: number, events: number): Promise<void> {
  while (Number((await stateOf(sql, id)).events_delivered) < events) await sql`SELECT pg_sleep(0.05)`
}

/** Locks tables until it is told to give them back. */
async function lock(url: string, ...tables: readonly string[]): Promise<() => Promise<void>> {
  const own = session(url)
  await own`BEGIN`
  for (const table of tables) await own.unsafe(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`)
  return async () => {
    await own`ROLLBACK`
  }
}

/** They wait much more than they work, so all run at once. */
const failures = {
  'the state database is away, and is back': async () => {
    const cluster = await startCluster()
    const daemon = await startDaemon(cluster.url, quick)
    await ready(daemon)
    await cluster.stop('fast')
    await unready(daemon, /^state database: /)
    await cluster.start()
    await ready(daemon)
    expect(await daemon.stop()).toBe(0)
  },

  'the source database hangs behind a black hole while nothing happens, and is back': async () => {
    const { url } = await createTestDatabase()
    const source = await createTestDatabase()
    const proxy = await startTcpProxy(source.url)
    const daemon = await startDaemon(url, { ...quick, SPILLWAY_SOURCE_DATABASE_URL: proxy.url })
    await ready(daemon)
    proxy.blackHole()
    await unready(daemon, /^source database: /)
    proxy.restore()
    await ready(daemon)
    expect(await daemon.stop()).toBe(0)
  },

  'the state database hangs behind a black hole, and deliveries go on when it is back': async () => {
    const { url, sql, receiver, write } = await createScene()
    const proxy = await startTcpProxy(url)
    const daemon = await startDaemon(proxy.url, { ...quick, SPILLWAY_SOURCE_DATABASE_URL: url })
    const id = await insertDestination(sql, { url: receiver.url })
    await served(sql, id)
    await write(3)
    await delivered(sql, id, 3)
    await ready(daemon)
    proxy.blackHole()
    await write(3)
    await unready(daemon, /^state database: /)
    proxy.restore()
    const began = performance.now()
    await delivered(sql, id, 6)
    expect(performance.now() - began).toBeLessThan(withinMs)
    await ready(daemon)
    expect(await daemon.stop()).toBe(0)
  },

  'connections to the source database are half-open, and replaced': async () => {
    const { url, sql, receiver, write } = await createScene()
    const proxy = await startTcpProxy(url)
    const daemon = await startDaemon(url, { ...quick, SPILLWAY_SOURCE_DATABASE_URL: proxy.url })
    const id = await insertDestination(sql, { url: receiver.url })
    await served(sql, id)
    await write(3)
    await delivered(sql, id, 3)
    proxy.halfOpen()
    const began = performance.now()
    await write(3)
    await delivered(sql, id, 6)
    expect(performance.now() - began).toBeLessThan(withinMs)
    await ready(daemon)
    expect(daemon.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([])
    expect(await daemon.stop()).toBe(0)
  },

  'migrations are missing after a restore, and are there again; a newer one is no matter': async () => {
    const { url, sql } = await createTestDatabase()
    const daemon = await startDaemon(url, quick)
    await ready(daemon)
    const [last] = await sql<{ hash: string; created_at: string }[]>`
    DELETE FROM spillway.migrations WHERE created_at = (SELECT max(created_at) FROM spillway.migrations)
    RETURNING hash, created_at`
    await unready(daemon, /^state database: the migration \w+ is missing; run spillway migrate$/)
    await sql`
    INSERT INTO spillway.migrations (hash, created_at)
    VALUES (${last?.hash ?? ''}, ${last?.created_at ?? ''}), ('newer', ${last?.created_at ?? ''}::bigint + 1)`
    await ready(daemon)
    expect(await daemon.stop()).toBe(0)
  },

  'a source’s table is locked, and free again; one that is wrong or held back is no matter': async () => {
    const { url, sql, write } = await createScene()
    const daemon = await startDaemon(url, quick)
    await sql`
    INSERT INTO spillway.sources (log_type, relation, timestamp_column) VALUES ('wrong', 'public.nothing', 'at')`
    await daemon.logged('source.invalid')
    const writer = session(url)
    await writer`BEGIN`
    await writer`INSERT INTO spillway.action_audit_log (org_id) VALUES ('acme')`
    await sql`INSERT INTO spillway.action_audit_log (org_id) VALUES ('acme')`
    await write(1)
    await daemon.logged('horizon.stalled')
    await ready(daemon)
    const unlock = await lock(url, 'spillway.request_audit_log')
    const { body } = await unready(daemon, /^source request: not looked at for \d+ s$/)
    expect(body.problems).toHaveLength(1)
    await unlock()
    await ready(daemon)
    await writer`ROLLBACK`
    expect(await daemon.stop()).toBe(0)
  },

  'no cursor can be written, and all can again; one row that is locked is no matter': async () => {
    const { url, sql, receiver, write } = await createScene()
    const daemon = await startDaemon(url, quick)
    const ids = [
      await insertDestination(sql, { url: receiver.url, org: 'acme' }),
      await insertDestination(sql, { url: receiver.url, org: 'globex' }),
    ] as const
    await write(1)
    await write(1, 'globex')
    for (const id of ids) await settled(sql, id, id === ids[0] ? 'acme' : 'globex')
    const holder = session(url)
    await holder`BEGIN`
    await holder`SELECT FROM spillway.cursors WHERE destination_id = ${ids[0]} FOR UPDATE`
    await write(1)
    await sql`SELECT pg_sleep(0.5)`
    await write(1, 'globex')
    await settled(sql, ids[1], 'globex')
    await sql`SELECT pg_sleep(18)`
    expect((await ask(daemon)).body).toEqual({ status: 'ready', problems: [] })
    await holder`ROLLBACK`
    await settled(sql, ids[0], 'acme')
    const unlock = await lock(url, 'spillway.cursors')
    await write(1)
    await write(1, 'globex')
    await unready(daemon, /^forwarders: no cursor has been written for \d+ s$/)
    await unlock()
    await ready(daemon)
    expect(await daemon.stop()).toBe(0)
  },

  'endpoints that hang and refuse are no matter': async () => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always({ status: 503 })
    const daemon = await startDaemon(url, quick)
    const id = await insertDestination(sql, { url: receiver.url })
    await write(1)
    await daemon.logged('destination.failed', ({ destination_id }) => destination_id === id)
    expect((await ask(daemon)).body).toEqual({ status: 'ready', problems: [] })
    expect(await daemon.stop()).toBe(0)
  },
} as const satisfies Record<string, () => Promise<void>>

it('shows each failure within 30 s, and its end', () => beside(failures), 180_000)
