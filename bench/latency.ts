/**
 * From a row's COMMIT to the answer that accepts it, at default settings on an idle system. Polling alone
 * costs half an interval on average, whoever polls; the goal leaves 50 ms for everything else.
 *
 * Each row is written at a random moment of a slot of its own. Spread like that over the poll interval, the
 * median strays by a few milliseconds from run to run, where moments drawn freely would stray by forty.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { Benchmark } from './benchmark.ts'
import { addDestination, removeDestination } from './stage/destination.ts'
import { monotonicMs, type ReceivedRequest } from './stage/receiver.ts'
import { insertRow } from './stage/rows.ts'
import type { Stage } from './stage/stage.ts'
import { percentile } from './statistics.ts'

const rows = 240
const slotMs = 200
/** The default of SPILLWAY_POLL_INTERVAL_MS. */
const pollIntervalMs = 1_000

export const latency: Benchmark = {
  name: 'latency',
  what: 'commit to accepted, default settings, idle system',
  async run(stage, report) {
    const receiver = await stage.receiver()
    await stage.quiesce()
    await using _daemon = await stage.daemon()
    const destination = await addDestination(stage.sql, { url: receiver.url, startFrom: 'now' })
    report(`latency: ${rows} rows in ${(rows * slotMs) / 1000} s`)
    let committed: ReadonlyMap<number, number> = new Map()
    const received = await receiver.during(rows, async () => {
      committed = await writeRows(stage)
    })
    await removeDestination(stage.sql, destination)
    const delays = received.flatMap((request) => delaysOf(request, committed)).sort((a, b) => a - b)
    if (delays.length !== rows) throw new Error(`${delays.length} of ${rows} rows were found in the requests`)
    const [p50, p99] = [percentile(delays, 0.5), percentile(delays, 0.99)]
    const measured = { rows, pollIntervalMs, min: delays[0] ?? 0, p50, p99, max: delays.at(-1) ?? 0 }
    return [
      {
        row: 'latency p50',
        value: p50,
        unit: 'ms',
        goal: { atMost: pollIntervalMs / 2 + 50 },
        note: `${rows} rows, poll interval ${pollIntervalMs} ms`,
        measured,
      },
      {
        row: 'latency p99',
        value: p99,
        unit: 'ms',
        note: `longest ${Math.round(measured.max)} ms`,
        measured,
      },
    ]
  },
}

/** Returns when each row, by its id, was committed. */
async function writeRows(stage: Stage): Promise<Map<number, number>> {
  const committed = new Map<number, number>()
  const began = monotonicMs()
  for (let slot = 0; slot < rows; slot++) {
    const at = began + (slot + Math.random()) * slotMs
    await delay(Math.max(at - monotonicMs(), 0))
    const id = await insertRow(stage.sql)
    committed.set(id, monotonicMs())
  }
  return committed
}

function delaysOf(request: ReceivedRequest, committed: ReadonlyMap<number, number>): number[] {
  const delays: number[] = []
  for (let id = request.firstId; id <= request.lastId; id++) {
    const committedAt = committed.get(id)
    if (committedAt !== undefined) delays.push(request.answeredAt - committedAt)
  }
  return delays
}
