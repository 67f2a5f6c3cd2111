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
import { delaysOf } from './stage/delays.ts'
import { addDestination } from './stage/destination.ts'
import { monotonicMs } from './stage/receiver.ts'
import { insertRow } from './stage/rows.ts'
import type { Scene } from './stage/scene.ts'
import { percentile } from './statistics.ts'

/** The default of SPILLWAY_POLL_INTERVAL_MS. */
const pollIntervalMs = 1_000

interface Way {
  readonly rows: number
  readonly slotMs: number
  /** A row is written at a random moment of this first part of its slot. */
  readonly share: number
  /** In milliseconds. */
  readonly goal: { readonly p50: number; readonly p99: number }
}

const polled: Way = {
  rows: 240,
  slotMs: 100,
  share: 1,
  goal: { p50: 0.55 * pollIntervalMs, p99: 1.2 * pollIntervalMs },
}
/** A table that tells of its rows need not be polled. Between two rows the pause between batches, 100 ms, is over. */
const hinted: Way = { rows: 120, slotMs: 300, share: 0.5, goal: { p50: 15, p99: 60 } }

export function latency({ hints }: { readonly hints: boolean }): Benchmark {
  const name = hints ? 'latency-notify' : 'latency'
  const way = hints ? hinted : polled
  const { rows, slotMs, goal } = way
  return {
    name,
    what: `commit to accepted, ${hints ? 'a table that tells of its rows' : 'default settings'}, idle system`,
    async run(stage, report) {
      const receiver = await stage.receiver()
      await using scene = await stage.scene({ rows: 1_000, orgs: 1 })
      await using _hints = hints ? await installHints(scene) : undefined
      await using daemon = await scene.daemon()
      if (hints) await listening(scene)
      await addDestination(scene.sql, { url: receiver.url, startFrom: 'now' })
      // Until then the daemon may not have met the destination.
      await receiver.during(1, () => insertRow(scene.sql))
      await delay(slotMs)
      report(`${name}: ${rows} rows in ${(rows * slotMs) / 1000} s`)
      let committed: ReadonlyMap<number, number> = new Map()
      const received = await receiver.during(rows, async () => {
        committed = await writeRows(scene, way)
      })
      await daemon.stop()
      const delays = delaysOf(received, committed)
      if (delays.length !== rows)
        throw new Error(`${delays.length} of ${rows} rows were found in the requests`)
      const [p50, p99] = [percentile(delays, 0.5), percentile(delays, 0.99)]
      const measured = { rows, pollIntervalMs, min: delays[0] ?? 0, p50, p99, max: delays.at(-1) ?? 0 }
      return [
        {
          row: `${name} p50`,
          value: p50,
          unit: 'ms',
          goal: { atMost: goal.p50 },
          note: `${rows} rows, ${hints ? 'with the trigger' : `poll interval ${pollIntervalMs} ms`}`,
          measured,
        },
        {
          row: `${name} p99`,
          value: p99,
          unit: 'ms',
          goal: { atMost: goal.p99 },
          note: `longest ${Math.round(measured.max)} ms`,
          measured,
        },
      ]
    },
  }
}

/** As `spillway sources notify request` does; taken away when it is disposed of. */
async function installHints({ sql }: Scene): Promise<AsyncDisposable> {
  const target = await readHintTarget(sql, 'spillway.request_audit_log', 'request')
  if (!target) throw new Error('the request table is not there')
  await runPlan(sql, planInstall(target, 'request'))
  return {
    async [Symbol.asyncDispose]() {
      await runPlan(sql, await planRemoval(sql, 'request'))
    },
  }
}

async function listening({ sql }: Scene): Promise<void> {
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
async function writeRows(scene: Scene, { rows, slotMs, share }: Way): Promise<Map<number, number>> {
  const committed = new Map<number, number>()
  const began = monotonicMs()
  for (let slot = 0; slot < rows; slot++) {
    const at = began + (slot + share * Math.random()) * slotMs
    await delay(Math.max(at - monotonicMs(), 0))
    const id = await insertRow(scene.sql)
    committed.set(id, monotonicMs())
  }
  return committed
}
