/** The most memory that the daemon ever holds while it drains a backlog as fast as it can. */
import type { Benchmark } from './benchmark.ts'
import { drain } from './stage/drain.ts'
import { eventsPerSecond } from './stage/receiver.ts'

const batchSize = 1_000

export const memory: Benchmark = {
  name: 'memory',
  what: 'peak memory of the daemon while it drains 200,000 rows',
  async run(stage, report) {
    const receiver = await stage.receiver()
    const { received, peakBytes } = await drain(stage, receiver, { batchSize })
    const events = received.reduce((sum, request) => sum + request.events, 0)
    report(`memory: ${events} events drained`)
    return [
      {
        row: 'memory',
        value: peakBytes / 1_000_000,
        unit: 'MB',
        goal: { atMost: 250 },
        note: `${events.toLocaleString('en')} events in batches of ${batchSize.toLocaleString('en')}`,
        measured: { events, peakBytes, eventsPerSecond: eventsPerSecond(received) },
      },
    ]
  },
}
