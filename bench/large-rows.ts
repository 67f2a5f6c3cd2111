/** Rows of a megabyte each: what the daemon holds at most while it delivers them. */
import type { Benchmark } from './benchmark.ts'
import { drain } from './stage/drain.ts'
import { eventsPerSecond } from './stage/receiver.ts'
import { insertLargeRows } from './stage/rows.ts'

const name = 'large-rows'
const rows = 2_000
const rowBytes = 1_000_000
const rowsPerStatement = 100

export const largeRows: Benchmark = {
  name,
  what: `peak memory of the daemon while it delivers ${rows.toLocaleString('en')} rows of 1 MB`,
  async run(stage, report) {
    const receiver = await stage.receiver()
    report(`${name}: preparing ${(rows * rowBytes) / 1e9} GB`)
    await using scene = await stage.scene({ rows: 0, orgs: 1 })
    for (let row = 0; row < rows; row += rowsPerStatement) {
      await insertLargeRows(scene.sql, rowsPerStatement, rowBytes)
    }
    // The batch size is the default: the limit in bytes ends batches long before.
    const { received, peakBytes } = await drain(scene, receiver, { batchSize: 250 })
    const rate = eventsPerSecond(received)
    report(`${name}: ${Math.round(rate)} events/s`)
    return [
      {
        row: name,
        value: peakBytes / 1_000_000,
        unit: 'MB',
        goal: { atMost: 350 },
        note: `${Math.round((rate * rowBytes) / 1e6)} MB/s in ${received.length} requests`,
        measured: { rows, rowBytes, peakBytes, eventsPerSecond: rate, requests: received.length },
      },
    ]
  },
}
