/** A backlog of a million rows for one destination: the memory it takes, and whether it gets slower on the way. */
import type { Benchmark } from './benchmark.ts'
import { drain } from './stage/drain.ts'
import { eventsPerSecond } from './stage/receiver.ts'

const name = 'backlog-million'
const rows = 1_000_000
const batchSize = 1_000

export const backlog: Benchmark = {
  name,
  what: 'one destination with a backlog of 1,000,000 rows: peak memory, and the last tenth against the first',
  async run(stage, report) {
    const receiver = await stage.receiver()
    report(`${name}: preparing ${rows.toLocaleString('en')} rows`)
    await using scene = await stage.scene({ rows, orgs: 10 })
    const { received, peakBytes } = await drain(scene, receiver, { batchSize })
    const rate = eventsPerSecond(received)
    report(`${name}: ${Math.round(rate)} events/s`)
    const tenth = received.length / 10
    const tenths = Array.from({ length: 10 }, (_, index) =>
      eventsPerSecond(received.slice(Math.floor(index * tenth), Math.floor((index + 1) * tenth))),
    )
    const [first = Number.NaN, last = Number.NaN] = [tenths[0], tenths.at(-1)]
    const measured = { rows, peakBytes, eventsPerSecond: rate, tenths, requests: received.length }
    return [
      {
        row: `${name} memory`,
        value: peakBytes / 1_000_000,
        unit: 'MB',
        goal: { atMost: 250 },
        note: `the most from start to end, batches of ${batchSize.toLocaleString('en')}`,
        measured,
      },
      {
        row: `${name} last tenth`,
        value: last / first,
        unit: 'ratio',
        goal: { atLeast: 0.9 },
        note: `${perSecond(last)} events/s against ${perSecond(first)} in the first tenth`,
        measured,
      },
    ]
  },
}

const perSecond = (rate: number) => Math.round(rate).toLocaleString('en')
