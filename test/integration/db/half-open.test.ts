/** Connections that were cut without a word, directly and behind a pooler. */
import { expect, it } from 'vitest'
import { isTransient } from '../../../src/db/availability.ts'
import { Route } from '../../../src/db/pooler.ts'
import { connectRenewingState } from '../../../src/db/renewing.ts'
import { openSource } from '../../../src/db/source.ts'
import { pgbouncerIsMissing, startPgBouncer } from '../../support/pgbouncer.ts'
import { createTestDatabase, session, whenDone } from '../../support/postgres.ts'
import { startTcpProxy } from '../../support/tcp-proxy.ts'

const pool = { applicationName: 'spillway', max: 2 }

async function failure(work: PromiseLike<unknown>): Promise<unknown> {
  try {
    await work
    return undefined
  } catch (error) {
    return error
  }
}

/** Half a minute of waiting: both ways at once. */
it('gives up what the server knows nothing of, and waits for what it works on, directly and behind PgBouncer', async () => {
  await Promise.all((pgbouncerIsMissing ? [false] : [false, true]).map(cutConnections))
}, 60_000)

async function cutConnections(pooled: boolean): Promise<void> {
  const { url } = await createTestDatabase()
  const target = pooled ? (await startPgBouncer(url)).url : url
  const proxy = await startTcpProxy(target)
  const state = connectRenewingState(proxy.url, { ...pool, pooled, oneStatementAtATime: true })
  const source = openSource(proxy.url, pool, new Route(proxy.url, 'source'), { renewing: true })
  const slow = connectRenewingState(target, { ...pool, pooled })
  whenDone(async () => {
    await Promise.all([state, source, slow].map((each) => each.end({ timeout: 1 })))
  })
  const relation = state`spillway.${state('cursors')}`
  const ask = () => state`SELECT count(*)::int AS count FROM ${relation} WHERE ${true}`
  expect(await ask()).toEqual([{ count: 0 }])
  expect(await state.unsafe('SELECT 1 AS one')).toEqual([{ one: 1 }])
  await source.query('SELECT 1')
  const holder = session(url)
  await holder`BEGIN`
  await holder`LOCK TABLE spillway.cursors IN ACCESS EXCLUSIVE MODE`
  const long = Promise.all([
    slow`SELECT count(*)::int AS count FROM spillway.cursors`,
    slow`SELECT 1 AS slept FROM pg_sleep(22)`.finally(() => holder`ROLLBACK`),
  ])
  proxy.halfOpen()
  const began = performance.now()
  const lost = await Promise.all([failure(state`SELECT 1`), failure(source.query('SELECT 1'))])
  expect(performance.now() - began).toBeLessThan(20_000)
  expect(lost.map(isTransient)).toEqual([true, true])
  expect(await state.unsafe('SELECT 1 AS one')).toEqual([{ one: 1 }])
  expect(await source.query('SELECT 1 AS one')).toEqual([{ one: '1' }])
  expect(await long).toEqual([[{ count: 0 }], [{ slept: 1 }]])
}
