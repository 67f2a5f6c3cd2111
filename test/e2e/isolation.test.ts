import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { deliveries } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { createTestDatabase, whenDone } from '../support/postgres.ts'
import { hang, type Receiver, startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

const neighbours = 30
const rounds = 25

/**
 * Writes a row an org now and then, and takes each row's time from the commit to the healthy endpoint's
 * receipt; the 99th percentile of them, in milliseconds.
 */
async function healthyP99(hungBeside: number): Promise<number> {
  const { url, sql } = await createTestDatabase()
  const arrivedAt = new Map<string, number>()
  const healthy = await receiver()
  healthy.always({
    choose: (request) => {
      for (const { events } of deliveries([request])) {
        for (const { id } of events) arrivedAt.set(id, performance.now())
      }
      return { status: 200 }
    },
  })
  const hung = await receiver()
  hung.always(hang)
  const daemon = await startDaemon(url, {
    // Half the default: the poll is most of the delay, as it is in production.
    SPILLWAY_POLL_INTERVAL_MS: '500',
    SPILLWAY_REQUEST_TIMEOUT_MS: '3000',
    SPILLWAY_INTER_BATCH_DELAY_MS: '0',
  })
  for (let index = 0; index < neighbours; index++) {
    await insertDestination(sql, { url: healthy.url, org: `org-${index}`, name: `healthy ${index}` })
  }
  for (let index = 0; index < hungBeside; index++) {
    await insertDestination(sql, { url: hung.url, org: `org-${index}`, name: `hung ${index}` })
  }
  await daemon.logged(
    'destination.added',
    ({ name }) => name === `${hungBeside > 0 ? 'hung' : 'healthy'} ${neighbours - 1}`,
  )
  const committedAt = new Map<string, number>()
  for (let round = 0; round < rounds; round++) {
    const rows = await sql<{ id: string }[]>`
      INSERT INTO spillway.request_audit_log (org_id)
      SELECT 'org-' || n FROM generate_series(0, ${neighbours - 1}::int) n RETURNING id`
    for (const { id } of rows) committedAt.set(`request:${id}`, performance.now())
    await delay(100)
  }
  while (arrivedAt.size < committedAt.size) await healthy.received(healthy.requests.length + 1)
  if (hungBeside > 0) expect(hung.requests.length).toBeGreaterThanOrEqual(hungBeside)
  daemon.kill('SIGKILL')
  await daemon.exited
  const delays = [...committedAt].map(([id, at]) => (arrivedAt.get(id) ?? Number.POSITIVE_INFINITY) - at)
  delays.sort((a, b) => a - b)
  return delays[Math.floor(delays.length * 0.99)] ?? Number.POSITIVE_INFINITY
}

async function receiver(): Promise<Receiver> {
  const started = await startReceiver()
  whenDone(() => started.close())
  return started
}

it('thirty endpoints that never answer do not slow thirty healthy ones down by more than half', async () => {
  const alone = await healthyP99(0)
  const beside = await healthyP99(neighbours)
  process.stdout.write(
    `p99 commit to receipt: ${alone.toFixed(0)} ms alone, ${beside.toFixed(0)} ms beside hung endpoints\n`,
  )
  expect(beside).toBeLessThan(alone * 1.5)
})

it('a transaction that holds the rows of some destinations does not hold up the others', async () => {
  const { url, sql, receiver, write } = await createScene()
  const ids: number[] = []
  for (let index = 0; index < neighbours; index++) {
    ids.push(await insertDestination(sql, { url: receiver.url, org: `org-${index}` }))
  }
  const daemon = await startDaemon(url)
  const [held, free] = [ids.slice(0, 3), ids.slice(3)]
  await sql.begin(async (transaction) => {
    await transaction`SELECT FROM spillway.cursors WHERE destination_id IN ${transaction(held)} FOR UPDATE`
    for (let round = 0; round < 5; round++) {
      for (let index = 0; index < neighbours; index++) await write(2, `org-${index}`)
    }
    for (const id of free) await settled(sql, id, `org-${ids.indexOf(id)}`)
  })
  for (const id of held) await settled(sql, id, `org-${ids.indexOf(id)}`)
  await daemon.stop()
})
