/** Somebody has a row of Spillway's tables locked, and goes for lunch: that holds up its own destination only (I6). */
import { expect, it } from 'vitest'
import { briefLease, startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { session } from '../support/postgres.ts'
import { createScene, type Scene } from '../support/scene.ts'
import { until } from '../support/until.ts'

const quick = { ...briefLease, SPILLWAY_INTER_BATCH_DELAY_MS: '0', SPILLWAY_REQUEST_TIMEOUT_MS: '1000' }

/** Two destinations of one shard, of those that a first replica gives to a second one. */
async function createNeighbours({ sql, receiver }: Scene, first = 40) {
  const insert = async (id: number, config?: { url: string; method: string }) => {
    await sql`SELECT setval(pg_get_serial_sequence('spillway.destinations', 'id'), ${id - 1}::bigint)`
    return insertDestination(sql, { url: `${receiver.url}/${id}`, ...(config && { config }) })
  }
  return { insert, locked: await insert(first), other: await insert(first + 64) }
}

/** Different ones: after a kill a batch may come again. */
const eventsAt = ({ receiver }: Scene, id: number) =>
  new Set(
    receiver.requests
      .filter(({ path }) => path === `/${id}`)
      .flatMap(({ body }) => (JSON.parse(body.toString()) as { id: string }[]).map((event) => event.id)),
  ).size

const waits = async ({ sql }: Scene) =>
  (
    await sql`SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'spillway'
             AND datname = current_database()`
  ).length > 0

it('a cursor that is locked holds up neither the hand-over of its shard nor the takeover after a kill', async () => {
  const scene = await createScene()
  const { url, sql, write } = scene
  const first = await startDaemon(url, quick)
  const { locked, other } = await createNeighbours(scene)
  await write(1)
  await settled(sql, locked, null)
  await settled(sql, other, null)
  const open = session(url)
  await open`BEGIN`
  await open`SELECT FROM spillway.cursors WHERE destination_id = ${locked} FOR UPDATE`
  await write(1)
  await until(() => waits(scene))
  const second = await startDaemon(url, quick)
  await second.logged('lease.acquired', ({ held }) => held === 32)
  await write(1)
  await until(() => eventsAt(scene, other) === 3 && waits(scene))
  second.kill('SIGKILL')
  await first.logged('lease.acquired', ({ held }) => held === 64 && second.lines.length > 0)
  await write(1)
  await until(() => eventsAt(scene, other) === 4)
  await open`COMMIT`
  await settled(sql, locked, null)
  expect(eventsAt(scene, locked)).toBe(4)
  expect(await first.stop()).toBe(0)
})

it('an invalid row that is being edited does not keep the others of its shard from being taken up', async () => {
  const scene = await createScene()
  const { url, sql, receiver, write } = scene
  const { insert, locked, other } = await createNeighbours(scene)
  const invalid = await insert(168, { url: receiver.url, method: 'none' })
  const open = session(url)
  await open`BEGIN`
  await open`UPDATE spillway.destinations SET name = 'other' WHERE id = ${invalid}`
  const daemon = await startDaemon(url, quick)
  await write(1)
  await settled(sql, locked, null)
  await settled(sql, other, null)
  await insert(300)
  await daemon.logged('destination.added', ({ destination_id }) => destination_id === 300)
  await open`COMMIT`
  await daemon.logged('destination.invalid', ({ destination_id }) => destination_id === invalid)
  expect(await daemon.stop()).toBe(0)
})
