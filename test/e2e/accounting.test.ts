import { afterAll, expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { readNaively } from '../support/naive-reader.ts'
import { createTestDatabase } from '../support/postgres.ts'
import { seeded, seedOf } from '../support/random.ts'
import { destroy, type Receiver, startReceiver } from '../support/receiver.ts'
import { writeAudit } from '../support/writers.ts'

const orgs = ['acme', 'globex', 'initech'] as const
const seed = seedOf()
const receivers: Receiver[] = []

afterAll(async () => {
  await Promise.all(receivers.map((receiver) => receiver.close()))
})

async function receiver(): Promise<Receiver> {
  const started = await startReceiver()
  receivers.push(started)
  return started
}

it(`delivers every committed row once, in order, and none that rolled back (seed ${seed})`, async () => {
  const { url, sql } = await createTestDatabase()
  const all = await receiver()
  const acme = await receiver()
  const daemon = await startDaemon(url, { SPILLWAY_INTER_BATCH_DELAY_MS: '0' })
  const everything = await insertDestination(sql, { url: all.url })
  const tenant = await insertDestination(sql, { url: acme.url, org: 'acme' })
  const written = new AbortController()
  const naive = readNaively(sql, 50, written.signal)
  await writeAudit({ url, seed, writers: 12, transactions: 60, orgs, longestPauseMs: 300 })
  written.abort()
  const seen = await naive
  await settled(sql, everything, null)
  await settled(sql, tenant, 'acme')
  await daemon.stop()

  expect(await account(sql, all.requests, null)).toMatchObject({ ...nothingWrong, repeatedBatches: 0 })
  expect(await account(sql, acme.requests, 'acme')).toMatchObject({ ...nothingWrong, repeatedBatches: 0 })
  const committed = await sql<{ id: string }[]>`SELECT id FROM spillway.request_audit_log`
  const lost = committed.filter(({ id }) => !seen.has(id)).length
  const percent = ((100 * lost) / committed.length).toFixed(0)
  process.stdout.write(
    `A plain "id > cursor" reader lost ${lost} of ${committed.length} committed rows (${percent} %); Spillway lost 0.\n`,
  )
  // Writers that lose it nothing would prove nothing of Spillway either.
  expect(lost).toBeGreaterThan(0)
})

it(`loses nothing over kill -9, and repeats only whole batches under their ids (seed ${seed})`, async () => {
  const { url, sql } = await createTestDatabase()
  const random = seeded(seed)
  const target = await receiver()
  // An endpoint that also drops connections, so that kills meet batches in every state.
  target.always({ choose: () => (random() < 0.04 ? destroy : { status: 200 }) })
  const id = await insertDestination(sql, { url: target.url, delivery: { batchSize: 50 } })
  const enough = new AbortController()
  const writing = writeAudit({ url, seed, writers: 6, signal: enough.signal, orgs, longestPauseMs: 150 })
  const env = { SPILLWAY_INTER_BATCH_DELAY_MS: '0', SPILLWAY_BACKOFF_SCHEDULE_MS: '50' }
  const kills = 8
  for (let kill = 0; kill < kills; kill++) {
    const daemon = await startDaemon(url, env)
    // A request in flight is the interesting instant; a little later is another one.
    await target.received(target.requests.length + 1 + Math.floor(random() * 4))
    daemon.kill('SIGKILL')
    await daemon.exited
  }
  enough.abort()
  await writing
  const last = await startDaemon(url, env)
  await settled(sql, id, null)
  await last.stop()

  expect(await account(sql, target.requests, null)).toMatchObject(nothingWrong)
})
