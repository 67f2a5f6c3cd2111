import { expect, it } from 'vitest'
import { account, nothingWrong } from '../support/accounting.ts'
import { startDaemon } from '../support/daemon.ts'
import { insertDestination, settled } from '../support/destinations.ts'
import { hang, late } from '../support/receiver.ts'
import { createScene } from '../support/scene.ts'

it.each(['SIGTERM', 'SIGINT'] as const)(
  'lets a batch on its way arrive and settles it on %s',
  async (signal) => {
    const { url, sql, receiver, write } = await createScene()
    receiver.always(late(700))
    const daemon = await startDaemon(url)
    const id = await insertDestination(sql, { url: receiver.url, delivery: { batchSize: 10 } })
    await write(30)
    await receiver.received(1)
    daemon.kill(signal)
    expect(await daemon.exited).toBe(0)
    expect(daemon.lines.at(-1)).toMatchObject({ event: 'daemon.stopped' })
    const [cursor] = await sql`SELECT position FROM spillway.cursors WHERE destination_id = ${id}`
    expect(cursor?.position).toBe('10')
    receiver.always({ status: 200 })
    const again = await startDaemon(url)
    await settled(sql, id, null)
    await again.stop()
    expect(await account(sql, receiver.requests, null)).toMatchObject({ ...nothingWrong, repeatedBatches: 0 })
  },
)

it('leaves a batch frozen that does not arrive within the request time-out', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always(hang)
  const daemon = await startDaemon(url, { SPILLWAY_REQUEST_TIMEOUT_MS: '1500' })
  const id = await insertDestination(sql, {
    url: receiver.url,
    config: { url: receiver.url, timeoutMs: 60_000 },
  })
  await write(5)
  await receiver.received(1)
  const began = performance.now()
  expect(await daemon.stop()).toBe(0)
  expect(performance.now() - began).toBeLessThan(6_500)
  const [cursor] = await sql`SELECT position, frozen FROM spillway.cursors WHERE destination_id = ${id}`
  expect(cursor).toMatchObject({ position: '0', frozen: ['5'] })
  // An aborted attempt is no failure.
  const [state] =
    await sql`SELECT consecutive_failures FROM spillway.delivery_state WHERE destination_id = ${id}`
  expect(state?.consecutive_failures).toBe(0)
})

it('ends at once on a second signal', async () => {
  const { url, sql, receiver, write } = await createScene()
  receiver.always(hang)
  const daemon = await startDaemon(url)
  await insertDestination(sql, { url: receiver.url })
  await write(5)
  await receiver.received(1)
  const began = performance.now()
  daemon.kill('SIGTERM')
  await daemon.logged('daemon.stopping')
  daemon.kill('SIGTERM')
  expect(await daemon.exited).toBe(143)
  expect(performance.now() - began).toBeLessThan(3_000)
})
