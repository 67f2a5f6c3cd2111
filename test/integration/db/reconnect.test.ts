import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { connectSource, connectState } from '../../../src/db/client.ts'
import { connectPooledSource } from '../../../src/db/pooled-source.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { startTcpProxy } from '../../support/tcp-proxy.ts'

const pool = { applicationName: 'test pool', max: 8 }

it.each(['state', 'source', 'pooled source'] as const)(
  'the connections of a pool (%s) are made anew soon after many were refused',
  async (kind) => {
    const { url } = await createTestDatabase()
    const proxy = await startTcpProxy(url)
    const { ask, end } = openPool(kind, proxy.url)
    try {
      const askAll = () => Promise.all(Array.from({ length: 8 }, ask))
      await askAll()
      proxy.reset()
      for (let round = 0; round < 15; round++) {
        void askAll().catch(() => {})
        await delay(100)
      }
      proxy.restore()
      const began = performance.now()
      while (
        !(await askAll().then(
          () => true,
          () => false,
        ))
      )
        await delay(20)
      expect(performance.now() - began).toBeLessThan(4_000)
    } finally {
      await end()
    }
  },
)

function openPool(kind: 'state' | 'source' | 'pooled source', url: string) {
  if (kind === 'state') {
    const sql = connectState(url, pool)
    return { ask: () => sql`SELECT pg_sleep(0.05)`.then(() => {}), end: () => sql.end({ timeout: 1 }) }
  }
  const source = kind === 'source' ? connectSource(url, pool, () => {}) : connectPooledSource(url, pool)
  return {
    ask: () => source.query('SELECT pg_sleep(0.05)').then(() => {}),
    end: () => source.end({ timeout: 1 }),
  }
}
