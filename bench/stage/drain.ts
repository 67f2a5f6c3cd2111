/** A fresh daemon delivers all that the request table holds for some destinations, from new cursors to settled ones. */
import { addDestinations, type NewDestination, removeDestinations, settled } from './destination.ts'
import type { ReceivedRequest, Receiver } from './receiver.ts'
import type { Scene } from './scene.ts'

export interface DrainOptions {
  readonly batchSize: number
  /** One that gets every org's events by default. */
  readonly destinations?: readonly Omit<NewDestination, 'startFrom'>[]
}

export interface Drained {
  readonly received: readonly ReceivedRequest[]
  /** The daemon's most memory since its start. */
  readonly peakBytes: number
}

/** Without pauses between batches; everything else is at its default. */
export async function drain(
  scene: Scene,
  receiver: Receiver,
  { batchSize, destinations = [{ url: receiver.url }] }: DrainOptions,
): Promise<Drained> {
  await scene.quiesce()
  await using daemon = await scene.daemon({
    SPILLWAY_BATCH_SIZE: String(batchSize),
    SPILLWAY_INTER_BATCH_DELAY_MS: '0',
  })
  const added = destinations.map((each) => ({ ...each, startFrom: 'beginning' }) as const)
  let ids: number[] = []
  let expected = 0
  for (const { org } of destinations) expected += await scene.count(org)
  const received = await receiver.during(expected, async () => {
    ids = await addDestinations(scene.sql, added)
  })
  await settled(scene.sql, ids)
  const { peak } = await daemon.memory()
  await daemon.stop()
  await removeDestinations(scene.sql, ids)
  return { received, peakBytes: peak }
}
