import postgres from 'postgres'
import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startCluster } from '../support/cluster.ts'
import { spawnDaemon, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { whenDone } from '../support/postgres.ts'
import { startReceiver } from '../support/receiver.ts'

it.each(['fast', 'immediate'] as const)(
  'goes on after the database was stopped (%s) and came back',
  async (mode) => {
    const cluster = await startCluster()
    const sql = postgres(cluster.url, { max: 2, onnotice: () => {} })
    const receiver = await startReceiver()
    whenDone(async () => {
      await sql.end({ timeout: 1 })
      await receiver.close()
    })
    const write = (count: number) =>
      sql`INSERT INTO spillway.request_audit_log (org_id) SELECT 'acme' FROM generate_series(1, ${count}::int)`
    const daemon = await startDaemon(cluster.url, { SPILLWAY_INTER_BATCH_DELAY_MS: '20' })
    const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 25 } })
    for (let round = 1; round <= 3; round++) {
      await write(400)
      await receiver.received(receiver.requests.length + 4)
      await cluster.stop(mode)
      await daemon.logged('database.unavailable')
      await cluster.start()
      await settled(sql, id, null)
    }
    expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
    expect(daemon.lines.filter(({ level }) => level === 'error' || level === 'fatal')).toEqual([])
    expect(await daemon.stop()).toBe(0)
  },
)

it('waits for a database that is not there yet', async () => {
  const cluster = await startCluster()
  await cluster.stop('fast')
  const daemon = spawnDaemon(cluster.url)
  await daemon.logged('database.unavailable')
  await cluster.start()
  await daemon.logged('daemon.started')
  expect(await daemon.stop()).toBe(0)
})
