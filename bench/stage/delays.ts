/** How long rows took from their COMMIT to the answer that accepted them. */
import type { ReceivedRequest } from './receiver.ts'

/** In milliseconds, rising; of the rows that are among the committed. */
export function delaysOf(
  received: readonly ReceivedRequest[],
  committed: ReadonlyMap<number, number>,
): number[] {
  const delays = received.flatMap(({ ids, answeredAt }) =>
    ids.flatMap((id) => {
      const at = committed.get(id)
      return at === undefined ? [] : [answeredAt - at]
    }),
  )
  return delays.sort((a, b) => a - b)
}
