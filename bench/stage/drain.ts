/** A fresh daemon drains the whole request table, from a new cursor to a settled one. */
import { addDestination, removeDestination, settled } from './destination.ts'
import type { ReceivedRequest, Receiver } from './receiver.ts'
import type { Stage } from './stage.ts'

export interface Drained {
  readonly received: readonly ReceivedRequest[]
  /** The daemon's most memory since its start. */
  readonly peakBytes: number
}

/** Without pauses between batches; everything else is at its default. */
export async function drain(
  stage: Stage,
  receiver: Receiver,
  { batchSize }: { readonly batchSize: number },
): Promise<Drained> {
  await stage.quiesce()
  await using daemon = await stage.daemon({
    SPILLWAY_BATCH_SIZE: String(batchSize),
    SPILLWAY_INTER_BATCH_DELAY_MS: '0',
  })
  let destination = 0
  const received = await receiver.during(await stage.count(), async () => {
    destination = await addDestination(stage.sql, { url: receiver.url, startFrom: 'beginning' })
  })
  await settled(stage.sql, destination)
  const peakBytes = await daemon.peakBytes()
  await daemon.stop()
  await removeDestination(stage.sql, destination)
  return { received, peakBytes }
}
