import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled, stateOf } from '../support/destinations.ts'
import { whenDone } from '../support/postgres.ts'
import { startReceiver } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

it('passes no batch over when writing the cursor fails for a while with an error that is not the network', async () => {
  const { url, sql, receiver, write } = await createScene()
  await sql.unsafe(`
    CREATE TABLE public.broken (since timestamptz DEFAULT now());
    CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF EXISTS (SELECT FROM public.broken) THEN RAISE EXCEPTION 'refused'; END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE UPDATE ON spillway.cursors FOR EACH ROW EXECUTE FUNCTION public.refuse();`)
  const daemon = await startDaemon(url, { SPILLWAY_INTER_BATCH_DELAY_MS: '20' })
  const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 10 } })
  await write(500)
  await receiver.received(8)
  await sql`INSERT INTO public.broken DEFAULT VALUES`
  await daemon.logged('destination.error')
  await sql`DELETE FROM public.broken`
  await write(1)
  await settled(sql, id, null)
  await daemon.stop()
  expect(await account(sql, receiver.requests, null)).toMatchObject(nothingWrong)
})

it('takes rows that break their own parsing for invalid, and runs the others', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url)
  const [holed] = await sql`
    INSERT INTO spillway.destinations (name, type, config, log_types)
    VALUES ('holed', 'http', '{"url": "http://127.0.0.1:1/"}', ARRAY['request', NULL]) RETURNING id::int`
  const hostile = await insertDestination(sql, {
    url: '',
    name: 'hostile',
    type: 'datadog',
    config: { apiKey: 'x'.repeat(32), tags: [{ toString: null }] },
  })
  const good = await insertDestination(sql, { url: receiver.url })
  await daemon.logged('destination.invalid', ({ name }) => name === 'holed')
  await daemon.logged('destination.invalid', ({ name }) => name === 'hostile')
  await write(3)
  await settled(sql, good, null)
  expect(await stateOf(sql, Number(holed?.id))).toMatchObject({ status: 'invalid' })
  expect(await stateOf(sql, hostile)).toMatchObject({ status: 'invalid' })
  expect(await daemon.stop()).toBe(0)
})

it('goes on when a destination is deleted while its start is looked up, and holds up no other for it', async () => {
  const { url, sql, receiver, write } = await createScene()
  await write(5)
  const daemon = await startDaemon(url)
  const id = await sql.begin(async (lock) => {
    // Whoever looks up a start in this table waits.
    await lock`LOCK TABLE spillway.access_audit_log IN ACCESS EXCLUSIVE MODE`
    const waiting = await insertDestination(sql, {
      url: receiver.url,
      logTypes: ['access'],
      startFrom: 'beginning',
    })
    const other = await insertDestination(sql, { url: receiver.url })
    await daemon.logged('destination.added', ({ destination_id }) => destination_id === other)
    await write(2)
    await receiver.received(1)
    await sql`DELETE FROM spillway.destinations WHERE id = ${waiting}`
    await daemon.logged('destination.removed', () => true).catch(() => {})
    return other
  })
  await write(1)
  await settled(sql, id, null)
  expect(await daemon.stop()).toBe(0)
})

it('does not let destinations with long pauses keep the seats that others need', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url)
  for (let index = 0; index < 40; index++) {
    await insertDestination(sql, {
      url: receiver.url,
      org: 'slow',
      name: `slow ${index}`,
      delivery: { batchSize: 1, interBatchDelayMs: 60_000 },
    })
  }
  const quick = await startReceiver()
  whenDone(() => quick.close())
  await insertDestination(sql, { url: quick.url, org: 'quick', name: 'quick' })
  await daemon.logged('destination.added', ({ name }) => name === 'quick')
  await sql`INSERT INTO spillway.request_audit_log (org_id, path)
            SELECT 'slow', repeat(md5(n::text), 100) FROM generate_series(1, 2000) n`
  await receiver.received(40)
  await write(1, 'quick')
  const began = performance.now()
  await quick.received(1)
  expect(performance.now() - began).toBeLessThan(3_000)
  await daemon.stop()
})

it('stops in time although a table it reads is locked', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url, { SPILLWAY_REQUEST_TIMEOUT_MS: '1000' })
  await insertDestination(sql, { url: receiver.url })
  await write(1)
  await receiver.received(1)
  await sql.begin(async (lock) => {
    await lock`LOCK TABLE spillway.request_audit_log IN ACCESS EXCLUSIVE MODE`
    await lock`SELECT pg_sleep(0.3)`
    const began = performance.now()
    expect(await daemon.stop()).toBe(0)
    expect(performance.now() - began).toBeLessThan(6_000)
  })
})

it('keeps the ends of batches that were accepted beyond a failed one', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always({
    choose: (request) =>
      request.body.toString().includes('"request:1"') ? { status: 503 } : { status: 200 },
  })
  const daemon = await startDaemon(url, {
    SPILLWAY_INTER_BATCH_DELAY_MS: '0',
    SPILLWAY_BACKOFF_SCHEDULE_MS: '300',
  })
  const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 10, maxInFlight: 4 } })
  await write(15)
  await daemon.logged('destination.backing_off')
  await receiver.received(receiver.requests.length + 2)
  await write(3)
  receiver.always({ status: 200 })
  await settled(sql, id, null)
  await daemon.stop()
  expect(await account(sql, receiver.requests, null)).toMatchObject({
    ...nothingWrong,
    outOfOrder: expect.anything(),
  })
})

it('writes a row that is too large for any destination down without fetching it', async () => {
  const { url, sql, receiver, write } = await createScene()
  const daemon = await startDaemon(url)
  const id = await insertDestination(sql, { url: receiver.url })
  await write(1)
  await sql`INSERT INTO spillway.request_audit_log (org_id, path) VALUES ('acme', repeat('x', 60000000))`
  await write(1)
  await settled(sql, id, null)
  await daemon.stop()
  const events = receiver.requests.flatMap(({ body }) => JSON.parse(body.toString()))
  expect(events.map((event: { id: string }) => event.id)).toEqual(['request:1', 'request:3'])
  expect(await sql`SELECT event_id, reason FROM spillway.dead_letters`).toMatchObject([
    { event_id: 'request:2', reason: expect.stringContaining('event_too_large') },
  ])
})
