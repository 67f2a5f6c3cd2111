import { expect, it } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { hang, type ReceivedRequest } from '../support/receiver.ts'
import { eventIds, insertRange, insertReplay, replayed } from '../support/replays.ts'
import { createScene } from '../support/scene.ts'

it('ends with its destination, also where that is deleted at the moment of the request', async () => {
  const { url, sql, receiver } = await createScene()
  const id = await insertDestination(sql, { url: receiver.url, org: 'acme' })
  const replay = await sql.begin(async (own) => {
    await own`DELETE FROM spillway.destinations WHERE id = ${id}`
    return insertReplay(sql, { destination_id: id, kind: 'dead_letters' })
  })
  const daemon = await startDaemon(url)
  expect(await replayed(sql, replay)).toMatchObject({
    state: 'failed',
    last_error: 'The destination was deleted.',
  })
  expect(await daemon.stop()).toBe(0)
})

it('is drained in smaller batches where its own take too long', async () => {
  const { url, sql, receiver, write } = await createScene()
  const id = await insertDestination(sql, {
    url: receiver.url,
    org: 'acme',
    delivery: { batchSize: 8 },
  })
  await write(8)
  await startDaemon(url, { SPILLWAY_REQUEST_TIMEOUT_MS: '1000', SPILLWAY_BACKOFF_SCHEDULE_MS: '100' })
  await settled(sql, id, 'acme')
  receiver.always({
    choose: (request: ReceivedRequest) => (eventIds([request]).length > 3 ? hang : { status: 200 }),
  })
  const replay = await insertRange(sql, id, 0, 8)
  expect(await replayed(sql, replay)).toMatchObject({ state: 'done', events_sent: '8' })
})
