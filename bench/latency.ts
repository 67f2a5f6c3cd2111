/**
 * From a row's COMMIT to the answer that accepts it, at default settings on an idle system. Polling alone
 * costs half an interval on average, whoever polls; the goal leaves 50 ms for everything else.
 *
 * Each row is written at a random moment of a slot of its own. Spread like that over the poll interval, the
 * median strays by a few milliseconds from run to run, where moments drawn freely would stray by forty.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { planInstall, planRemoval, readHintTarget, runPlan } from '../src/sources/hint-installer.ts'
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

/** Of a table that tells of its rows, on one machine. */
const goalWithHintsMs = 20

export function latency({ hints }: { readonly hints: boolean }): Benchmark {
  const name = hints ? 'latency-notify' : 'latency'
  return {
    name,
    what: `commit to accepted, ${hints ? 'a table that tells of its rows' : 'default settings'}, idle system`,
    async run(stage, report) {
      const receiver = await stage.receiver()
      await stage.quiesce()
      await using _hints = hints ? await installHints(stage) : undefined
      await using _daemon = await stage.daemon()
      if (hints) await listening(stage)
      const destination = await addDestination(stage.sql, { url: receiver.url, startFrom: 'now' })
      report(`${name}: ${rows} rows in ${(rows * slotMs) / 1000} s`)
      let committed: ReadonlyMap<number, number> = new Map()
      const received = await receiver.during(rows, async () => {
        committed = await writeRows(stage)
      })
      await removeDestination(stage.sql, destination)
      const delays = received.flatMap((request) => delaysOf(request, committed)).sort((a, b) => a - b)
      if (delays.length !== rows)
        throw new Error(`${delays.length} of ${rows} rows were found in the requests`)
      const [p50, p99] = [percentile(delays, 0.5), percentile(delays, 0.99)]
      const measured = { rows, pollIntervalMs, min: delays[0] ?? 0, p50, p99, max: delays.at(-1) ?? 0 }
      return [
        {
          row: `${name} p50`,
          value: p50,
          unit: 'ms',
          goal: { atMost: hints ? goalWithHintsMs : pollIntervalMs / 2 + 50 },
          note: `${rows} rows, ${hints ? 'with the trigger' : `poll interval ${pollIntervalMs} ms`}`,
          measured,
        },
        {
          row: `${name} p99`,
          value: p99,
          unit: 'ms',
          note: `longest ${Math.round(measured.max)} ms`,
          measured,
        },
      ]
    },
  }
}

/** As `spillway sources notify request` does; taken away when it is disposed of. */
async function installHints({ sql }: Stage): Promise<AsyncDisposable> {
  const target = await readHintTarget(sql, 'spillway.request_audit_log', 'request')
  if (!target) throw new Error('the request table is not there')
  await runPlan(sql, planInstall(target, 'request'))
  return {
    async [Symbol.asyncDispose]() {
      await runPlan(sql, await planRemoval(sql, 'request'))
    },
  }
}

async function listening({ sql }: Stage): Promise<void> {
  const deadline = monotonicMs() + 10_000
  while (monotonicMs() < deadline) {
    const [row] = await sql<{ up: boolean }[]>`
      SELECT EXISTS (SELECT FROM pg_stat_activity
                     WHERE application_name = 'spillway listener' AND query LIKE 'LISTEN%' AND state = 'idle') AS up`
    if (row?.up) return
    await delay(20)
  }
  throw new Error('the daemon does not listen')
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
