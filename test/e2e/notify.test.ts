import { describe, expect, test } from 'vitest'
import { spillway } from '../integration/cli/spillway.ts'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { createScene } from '../support/scene.ts'

/** Whatever arrives sooner was told of. */
const pollMs = 60_000
const soonMs = 10_000
const polledSeldom = { SPILLWAY_POLL_INTERVAL_MS: String(pollMs) }

function notify(url: string, ...args: readonly string[]) {
  return spillway(['sources', 'notify', 'request', ...args], { env: { DATABASE_URL: url } })
}

describe('a table that tells of its rows', () => {
  test('is read as soon as a row is committed', async () => {
    const { url, sql, receiver, write } = await createScene()
    expect(await notify(url)).toMatchObject({ code: 0 })
    const daemon = await startDaemon(url, polledSeldom)
    await insertDestination(sql, { url: receiver.url })
    await daemon.logged('destination.added')
    await daemon.logged('hints.started')
    const began = performance.now()
    for (let row = 1; row <= 5; row += 1) {
      await write(1)
      await receiver.received(row)
    }
    expect(performance.now() - began).toBeLessThan(soonMs)
    expect(await daemon.stop()).toBe(0)
  })

  test('loses nothing under a flood of commits', async () => {
    const { url, sql, receiver, write } = await createScene()
    await notify(url)
    const daemon = await startDaemon(url, { ...polledSeldom, SPILLWAY_INTER_BATCH_DELAY_MS: '10' })
    const id = await insertDestination(sql, { url: receiver.url })
    await daemon.logged('hints.started')
    await daemon.logged('destination.added')
    const began = performance.now()
    const writer = async () => {
      for (let row = 0; row < 200; row += 1) await write(1)
    }
    await Promise.all([writer(), writer(), writer(), writer()])
    await settled(sql, id, null)
    expect(performance.now() - began).toBeLessThan(pollMs / 2)
    expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
    expect(await daemon.stop()).toBe(0)
  })
})

describe('nothing is lost, at poll speed,', () => {
  test.each([
    {
      when: 'when the trigger is removed by the command',
      change: async ({ url }: Changed) => void (await notify(url, '--remove')),
    },
    {
      when: 'when the trigger is dropped by hand',
      change: ({ sql }: Changed) => sql`DROP TRIGGER spillway_notify_request ON spillway.request_audit_log`,
    },
    {
      when: 'when the function is dropped by hand, with all that hangs on it',
      change: ({ sql }: Changed) => sql`DROP FUNCTION spillway.spillway_notify_request() CASCADE`,
    },
    {
      when: 'when the table is made anew',
      change: ({ sql }: Changed) =>
        sql`
        CREATE TABLE spillway.renewed (LIKE spillway.request_audit_log INCLUDING ALL);
        SELECT setval('spillway.renewed_id_seq', 1000);
        INSERT INTO spillway.renewed OVERRIDING SYSTEM VALUE SELECT * FROM spillway.request_audit_log;
        DROP TABLE spillway.request_audit_log;
        ALTER TABLE spillway.renewed RENAME TO request_audit_log`.simple(),
    },
  ])('$when', async ({ change }) => {
    const scene = await createScene()
    const { url, sql, receiver, write } = scene
    await notify(url)
    const daemon = await startDaemon(url)
    const id = await insertDestination(sql, { url: receiver.url })
    await daemon.logged('destination.added')
    await daemon.logged('hints.started')
    await write(3)
    await settled(sql, id, null)
    await change(scene)
    await daemon.logged('hints.stopped')
    await write(3)
    await settled(sql, id, null)
    expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
    expect(await notify(url)).toMatchObject({ code: 0 })
    await daemon.logged('hints.started', (line) => daemon.lines.indexOf(line) > stoppedAt())
    await write(1)
    await settled(sql, id, null)
    expect(await daemon.stop()).toBe(0)

    function stoppedAt(): number {
      return daemon.lines.findIndex(({ event }) => event === 'hints.stopped')
    }
  })

  test('when the connection that listens is killed', async () => {
    const { url, sql, receiver, write } = await createScene()
    await notify(url)
    const daemon = await startDaemon(url)
    const id = await insertDestination(sql, { url: receiver.url })
    await daemon.logged('destination.added')
    await daemon.logged('hints.started')
    await sql`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'spillway listener'`
    await daemon.logged('hints.stopped')
    await write(5)
    await settled(sql, id, null)
    expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
    expect(await daemon.stop()).toBe(0)
  })
})

type Changed = Awaited<ReturnType<typeof createScene>>
