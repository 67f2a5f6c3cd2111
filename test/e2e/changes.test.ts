import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled, stateOf } from '../support/destinations.ts'
import { whenDone } from '../support/postgres.ts'
import { hang, startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

it('delivers the row that the next statement writes, and none from before', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url)
  await write(5)
  const [row] = await sql.begin(async (tx) => {
    await tx`INSERT INTO spillway.destinations (name, type, config, log_types)
             VALUES ('now', 'http', ${tx.json({ url: receiver.url })}, '{request}')`
    return tx`INSERT INTO spillway.request_audit_log (org_id) VALUES ('acme') RETURNING id`
  })
  const [request] = await receiver.received(1)
  await daemon.stop()
  const events = JSON.parse(request?.body.toString() ?? '[]')
  expect(events.map((event: { id: string }) => event.id)).toEqual([`request:${row?.id}`])
})

it.each([
  ['beginning', 5],
  ['2026-06-01T00:00:00Z', 2],
])('starts from %s', async (startFrom, expected) => {
  const { url, sql, receiver } = await createScene()
  await sql`INSERT INTO spillway.request_audit_log (org_id, occurred_at) VALUES
    ('a', '2026-01-01'), ('a', '2026-02-01'), ('a', '2026-05-31T23:59:59.999Z'), ('a', '2026-06-01'), ('a', '2026-07-01')`
  const daemon = await startDaemon(url)
  const id = await insertDestination(sql, { url: receiver.url, startFrom })
  await receiver.received(1)
  await settled(sql, id, null)
  await daemon.stop()
  expect(receiver.requests.flatMap(({ body }) => JSON.parse(body.toString()))).toHaveLength(expected)
})

it('takes up edits, disabling, enabling and deletion without losing or repeating a settled batch', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url, { SPILLWAY_INTER_BATCH_DELAY_MS: '5' })
  const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 10 } })
  for (let round = 0; round < 6; round++) {
    await write(300)
    await receiver.received(receiver.requests.length + 3)
    await sql`UPDATE spillway.destinations SET name = ${`edit ${round}`} WHERE id = ${id}`
    await daemon.logged('destination.changed', ({ name }) => name === `edit ${round}`)
  }
  await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${id}`
  await daemon.logged('destination.disabled')
  const while_disabled = receiver.requests.length
  await write(50)
  await sql`SELECT pg_sleep(0.5)`
  expect(receiver.requests.length).toBe(while_disabled)
  expect(await stateOf(sql, id)).toMatchObject({ status: 'disabled' })
  await sql`UPDATE spillway.destinations SET enabled = true WHERE id = ${id}`
  await settled(sql, id, null)
  expect(await account(sql, receiver.requests, null)).toMatchObject({ ...nothingWrong, repeatedBatches: 0 })
  await sql`DELETE FROM spillway.destinations WHERE id = ${id}`
  await daemon.logged('destination.removed')
  const after = receiver.requests.length
  await write(10)
  await sql`SELECT pg_sleep(0.5)`
  expect(receiver.requests.length).toBe(after)
  await daemon.stop()
})

it('sends a batch that hung at the old address to the new one within a second of the edit, under the same id', async () => {
  const { url, sql, receiver, write } = await createScene()
  const mended = await startReceiver()
  whenDone(() => mended.close())
  receiver.always(hang)
  const daemon = await startDaemon(url)
  const id = await insertDestination(sql, { url: receiver.url })
  await write(3)
  const [stuck] = await receiver.received(1)
  const editedAt = performance.now()
  await sql`UPDATE spillway.destinations SET config = ${sql.json({ url: mended.url })} WHERE id = ${id}`
  const [arrived] = await mended.received(1)
  // Half a second for the poll, half for the batch on its way, and a busy machine's share.
  expect(performance.now() - editedAt).toBeLessThan(2_000)
  expect(arrived?.headers['webhook-id']).toBe(stuck?.headers['webhook-id'])
  expect(arrived?.body.toString()).toBe(stuck?.body.toString())
  await daemon.stop()
})

it('names every bad field of a row, runs the others, and takes a mended row up', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url)
  const bad = await insertDestination(sql, {
    url: '',
    name: 'bad',
    config: { url: 'ftp://x', metod: 'POST' },
    logTypes: ['request', 'nonsense'],
    delivery: { batchSize: -1 },
  })
  const unknown = await insertDestination(sql, { url: '', name: 'unknown', type: 'carrier-pigeon' })
  const odd = await insertDestination(sql, { url: '', name: 'odd', config: 'not an object' })
  const good = await insertDestination(sql, { url: receiver.url, name: 'good' })
  const line = await daemon.logged('destination.invalid', ({ name }) => name === 'bad')
  const problems = String(line.problems)
  for (const field of ['config.url', 'config.metod', 'log_types', 'delivery.batchSize']) {
    expect(problems).toContain(field)
  }
  await daemon.logged('destination.invalid', ({ name }) => name === 'unknown')
  await daemon.logged('destination.invalid', ({ name }) => name === 'odd')
  for (const id of [bad, unknown, odd]) {
    expect(await stateOf(sql, id)).toMatchObject({ status: 'invalid', last_error: expect.any(String) })
  }
  await write(3)
  await settled(sql, good, null)

  await sql`UPDATE spillway.destinations SET config = ${sql.json({ url: receiver.url })},
            log_types = '{request}', delivery = '{}' WHERE id = ${bad}`
  await settled(sql, bad, null)
  expect(await stateOf(sql, bad)).toMatchObject({ status: 'active', last_error: null })
  expect(
    daemon.lines.filter(({ event, name }) => event === 'destination.invalid' && name === 'bad'),
  ).toHaveLength(1)
  await daemon.stop()
  // Its three rows waited for it.
  expect(receiver.requests.flatMap(({ body }) => JSON.parse(body.toString()))).toHaveLength(6)
})

it('goes on with the other sources when a table does not exist, and reads it once it does', async () => {
  const { url, sql, receiver, write } = await createScene()
  await sql`INSERT INTO spillway.sources (log_type, relation, org_column, timestamp_column)
            VALUES ('billing', 'public.billing_log', 'org', 'at')`
  const daemon = await startDaemon(url)
  const line = await daemon.logged('source.invalid')
  expect(line).toMatchObject({ log_type: 'billing', hint: expect.stringContaining('relation') })
  const id = await insertDestination(sql, { url: receiver.url, logTypes: ['request', 'billing'] })
  await write(2)
  await settled(sql, id, null)
  await sql`CREATE TABLE public.billing_log (id bigserial PRIMARY KEY, org text, at timestamptz DEFAULT now(), amount numeric)`
  await sql`INSERT INTO public.billing_log (org, amount) VALUES ('acme', 12.50)`
  await daemon.logged('source.recovered')
  await receiver.received(receiver.requests.length + 1)
  await daemon.stop()
  const last = JSON.parse(receiver.requests.at(-1)?.body.toString() ?? '[]')
  expect(last).toMatchObject([
    { id: 'billing:1', event: 'billing', org_id: 'acme', data: { amount: '12.50' } },
  ])
})
