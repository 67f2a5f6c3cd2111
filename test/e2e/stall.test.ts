import postgres from 'postgres'
import { expect, test } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination } from '../support/destinations.ts'
import { whenDone } from '../support/postgres.ts'
import { createScene } from '../support/scene.ts'

test('after ten seconds the log names who holds a horizon back, and then that it moves', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url)
  await insertDestination(sql, { url: receiver.url })
  await daemon.logged('destination.added')
  const writer = postgres(url, {
    max: 1,
    onnotice: () => {},
    connection: { application_name: 'nightly import' },
  })
  whenDone(() => writer.end())
  const [backend] = await writer<{ pid: number }[]>`SELECT pg_backend_pid() AS pid`
  await writer`begin`
  await writer`INSERT INTO spillway.request_audit_log (org_id) VALUES ('acme')`
  const began = performance.now()
  await write(1)
  const line = await daemon.logged('horizon.stalled')
  const ms = performance.now() - began
  expect(ms).toBeGreaterThan(9_500)
  expect(ms).toBeLessThan(20_000)
  expect(line).toMatchObject({
    level: 'warn',
    log_type: 'request',
    holder_pid: backend?.pid,
    application_name: 'nightly import',
    user: 'postgres',
    client_address: expect.stringContaining('127.0.0.1:'),
    state: 'idle in transaction',
    lock: expect.stringContaining('RowExclusiveLock on spillway.request_audit_log_id_seq'),
    holders: 1,
    transaction_age_ms: expect.any(Number),
    stalled_for_ms: expect.any(Number),
    msg: expect.stringContaining('nightly import'),
  })
  expect(receiver.requests).toHaveLength(0)
  await writer`commit`
  await receiver.received(1)
  expect(await daemon.logged('horizon.moved')).toMatchObject({ level: 'info', log_type: 'request' })
  expect(daemon.lines.filter(({ event }) => event === 'horizon.stalled')).toHaveLength(1)
  expect(await daemon.stop()).toBe(0)
})
