/** Replicas come, go and are killed while operators edit destinations and replays run; a failure prints the seed. */
import { setTimeout as delay } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { deliveries } from '../../support/accounting.ts'
import { createTestDatabase } from '../../support/postgres.ts'
import { pick, type Random, seeded, seedOf } from '../../support/random.ts'
import { insertReplay, replayed } from '../../support/replays.ts'
import { ReplicaScene, type Target } from '../../support/replicas/scene.ts'
import { type Exchange, overlaps } from '../../support/replicas/traffic.ts'

const seed = seedOf()
const deadlyOrgs = 4
const deadly = 'poison'

it(`edits and replays are right while shards move (seed ${seed})`, async () => {
  const random = seeded(seed)
  let isDeadly = true
  const scene = await ReplicaScene.create({
    destinations: 60,
    env: { SPILLWAY_BACKOFF_SCHEDULE_MS: '200' },
    answer: ({ request }) => {
      if (isDeadly && request.body.includes(deadly)) return { status: 422 }
      return { status: 200, afterMs: replayOf({ request }) === undefined ? random() * 40 : 500 }
    },
  })
  const { replicas, sql, targets, traffic, watch, table } = scene
  await replicas.startMany(2)
  const write = (org: string, notes: readonly string[]) => sql`
    INSERT INTO ${sql(table.relation)} (org, at, note)
    SELECT ${org}, now(), note FROM json_array_elements_text(${JSON.stringify(notes)}::text::json) note`
  const plain = (count: number) => Array.from({ length: count }, (_, index) => `row ${index}`)

  // Rows to replay: some that were delivered, and some that were refused.
  const accounted = [...targets]
  const ranged = accounted.slice(0, 8)
  for (const { org } of ranged) await write(org, plain(30))
  await scene.delivered()
  const refused: Target[] = []
  for (let index = 0; index < deadlyOrgs; index++) {
    const org = `deadly-${index}`
    refused.push(await scene.add(org))
    await write(org, ['good', deadly, 'good', `more ${deadly}`, 'good'])
  }
  const deadLetters = async () =>
    (await sql`SELECT FROM spillway.dead_letters WHERE resolved_at IS NULL`).length
  while ((await deadLetters()) < 2 * deadlyOrgs) await delay(50)
  isDeadly = false

  const [last] = await sql<{ id: string }[]>`SELECT max(id)::text AS id FROM ${sql(table.relation)}`
  const replays: { id: number; sent: string }[] = []
  for (const { id } of ranged) {
    const range = { log_type: table.logType, from_position: '0', to_position: last?.id ?? '' }
    replays.push({
      id: await insertReplay(sql, { destination_id: id, kind: 'range', ...range }),
      sent: '30',
    })
  }
  for (const { id } of refused) {
    replays.push({ id: await insertReplay(sql, { destination_id: id, kind: 'dead_letters' }), sent: '2' })
  }

  const writing = new AbortController()
  const written = scene.write(seed, 6, writing.signal, 100)
  const editing = edit(scene, accounted.slice(8), seeded(seed + 1), writing.signal)
  const fresh: Target[] = []
  for (let round = 0; round < 6; round++) {
    const [first, ...others] = replicas.running
    if (!first) throw new Error('no replica runs')
    const replica = pick(random, [first, ...others])
    const kind = random()
    if (others.length > 1 && kind < 0.4) await replicas.stop(replica)
    else {
      if (kind < 0.7) replicas.kill(replica)
      await replicas.spawn()
    }
    // While nobody holds the shards of the one that is gone.
    const org = `fresh-${round}`
    await write(org, ['before'])
    fresh.push(await scene.add(org))
    await write(org, ['after', 'after', 'after'])
    await delay(500 + random() * 1_500)
  }
  writing.abort()
  await Promise.all([written, editing])
  // What was there before a destination came is not for it.
  scene.targets.splice(0, scene.targets.length, ...accounted)
  await scene.delivered()
  for (const { path } of fresh) {
    const notes = () =>
      deliveries(traffic.exchanges.filter((each) => each.path === path).map(({ request }) => request))
        .flatMap(({ events }) => events)
        .map(({ data }) => data.note)
    while (traffic.arrived(path).size < 3) await delay(50)
    expect(new Set(notes())).toEqual(new Set(['after']))
  }
  for (const { id, sent } of replays) {
    expect(await replayed(sql, id)).toMatchObject({
      state: 'done',
      events_expected: sent,
      events_sent: sent,
      events_refused: '0',
      events_missing: '0',
    })
  }
  await replicas.stopAll()

  const live = traffic.exchanges.filter((exchange) => replayOf(exchange) === undefined)
  expect((await scene.accounts(live)).wrong).toEqual({})
  expect(overlaps(live)).toEqual([])
  expect(await watch.trespasses()).toEqual([])
  for (const { id, sent } of replays) {
    const own = traffic.exchanges.filter((exchange) => replayOf(exchange) === id)
    expect(overlaps(own)).toEqual([])
    const batchOf = new Map<string, string>()
    for (const { batchId, body, events } of deliveries(own.map(({ request }) => request))) {
      for (const event of events) {
        // Once, or again under the same id with the same bytes.
        const batch = `${batchId} ${body}`
        expect(batchOf.get(event.id) ?? batch).toBe(batch)
        batchOf.set(event.id, batch)
      }
    }
    expect(batchOf.size).toBe(Number(sent))
  }
  expect(await deadLetters()).toBe(0)
}, 180_000)

it('a destination that comes while nobody holds its shard misses nothing of a separate source', async () => {
  const source = await createTestDatabase({ empty: true })
  await source.sql.unsafe(`
    CREATE TABLE public.audit_trail (id bigserial PRIMARY KEY, org text, at timestamptz NOT NULL DEFAULT now(), note text);
    CREATE INDEX ON public.audit_trail (org, id)`)
  const scene = await ReplicaScene.create({
    destinations: 1,
    env: { SPILLWAY_SOURCE_DATABASE_URL: source.url, SPILLWAY_LEASE_MS: '4000' },
  })
  const { replicas, traffic } = scene
  const [first] = await replicas.startMany(2)
  if (!first) throw new Error('no replica runs')
  replicas.kill(first)
  const expected = new Map<string, string[]>()
  // Of every shard one, half of which nobody holds.
  for (let index = 0; index < 64; index++) {
    const org = `late-${index}`
    const { path } = await scene.add(org)
    const rows = await source.sql<{ id: string }[]>`
      INSERT INTO public.audit_trail (org) VALUES (${org}), (${org}) RETURNING id::text`
    expected.set(
      path,
      rows.map(({ id }) => `trail:${id}`),
    )
  }
  // Rows have been read beyond those, by one that does not hold the shards yet, when an operator edits.
  await delay(1_200)
  await scene.sql`UPDATE spillway.destinations SET delivery = '{"batchSize": 7}'`
  // It knows nothing of what the one before it had read when they came.
  await replicas.start()
  const missing = () =>
    [...expected].flatMap(([path, ids]) => ids.filter((id) => !traffic.arrived(path).has(id)).map(() => path))
  await expect.poll(missing, { timeout: 40_000 }).toEqual([])
  await replicas.stopAll()
  expect(overlaps(traffic.exchanges)).toEqual([])
}, 120_000)

function replayOf({ request }: Pick<Exchange, 'request'>): number | undefined {
  const id = request.headers['spillway-replay']
  return id === undefined ? undefined : Number(id)
}

/** Until `signal` aborts, and leaves all of them enabled. */
async function edit(
  { sql }: ReplicaScene,
  targets: readonly Target[],
  random: Random,
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    const { id } = targets[Math.floor(random() * targets.length)] as Target
    if (random() < 0.5) {
      await sql`
        UPDATE spillway.destinations SET delivery = ${sql.json({ batchSize: 1 + Math.floor(random() * 8) })}
        WHERE id = ${id}`
    } else {
      await sql`UPDATE spillway.destinations SET enabled = false WHERE id = ${id}`
      await delay(random() * 800)
      await sql`UPDATE spillway.destinations SET enabled = true WHERE id = ${id}`
    }
    await delay(random() * 100)
  }
}
