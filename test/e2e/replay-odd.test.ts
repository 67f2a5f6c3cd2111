import { expect, it } from 'vitest'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { insertReplay, replayed } from '../support/replays.ts'
import { createScene } from '../support/scene.ts'

it('ends with its destination, also where that is deleted at the moment of the request', async () => {
  const { url, sql, receiver } = await createScene()
  const id = await insertDestination(sql, { url: receiver.url, org: 'acme' })
  const daemon = await startDaemon(url)
  const replay = await sql.begin(async (own) => {
    await own`DELETE FROM spillway.destinations WHERE id = ${id}`
    return insertReplay(sql, { destination_id: id, kind: 'dead_letters' })
  })
  expect(await replayed(sql, replay)).toMatchObject({
    state: 'failed',
    last_error: 'The destination was deleted.',
  })
  expect(await daemon.stop()).toBe(0)
})
