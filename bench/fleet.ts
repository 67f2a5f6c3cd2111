/**
 * Ten thousand destinations, one for each org: what they cost while nothing happens, and while events come
 * in for any of them.
 */
import { randomInt } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Benchmark, Figure } from './benchmark.ts'
import type { BenchDaemon } from './stage/daemon.ts'
import { delaysOf } from './stage/delays.ts'
import { addDestinations } from './stage/destination.ts'
import { orgName } from './stage/rows.ts'
import type { Scene } from './stage/scene.ts'
import type { Stage } from './stage/stage.ts'
import { write } from './stage/writers.ts'
import { percentile } from './statistics.ts'

const name = 'fleet-10000'
const orgs = 10_000
const eventsPerSecond = 500
const idleSeconds = 30
const busySeconds = 15
/** For what a start leaves to be done. */
const calmSeconds = 8

export const fleet: Benchmark = {
  name,
  what: '10,000 destinations of 10,000 orgs, idle and with 500 events/s spread at random',
  async run(stage, report) {
    const receiver = await stage.receiver()
    await using scene = await stage.scene({ rows: 2 * orgs, orgs })
    const each = { url: receiver.url, startFrom: 'now' } as const
    await addDestinations(
      scene.sql,
      Array.from({ length: orgs }, (_, org) => ({ ...each, org: orgName(org) })),
    )
    report(`${name}: starting`)
    await using daemon = await scene.daemon()
    await allOpened(scene)
    // Else autovacuum and a checkpoint do what ten thousand new rows have left to do, some time within the minute.
    await scene.quiesce()
    await delay(calmSeconds * 1000)
    report(`${name}: idle for ${idleSeconds} s`)
    const idle = await usage(stage, daemon, () => delay(idleSeconds * 1000))
    const { peak } = await daemon.memory()
    report(`${name}: ${eventsPerSecond} events/s for ${busySeconds} s`)
    let committed: ReadonlyMap<number, number> = new Map()
    const writing = {
      databaseUrl: scene.databaseUrl,
      rowsPerSecond: eventsPerSecond,
      seconds: busySeconds,
      org: () => randomInt(orgs),
    }
    let received: Awaited<ReturnType<typeof receiver.during>> = []
    const busy = await usage(stage, daemon, async () => {
      received = await receiver.during(eventsPerSecond * busySeconds, async () => {
        committed = await write(writing)
      })
    })
    const delays = delaysOf(received, committed)
    const p99 = percentile(delays, 0.99)
    const { peak: busyPeak } = await daemon.memory()
    await daemon.stop()
    const atRest = { orgs, seconds: idleSeconds, ...idle, peakBytes: peak, startMs: daemon.startMs }
    const atWork = {
      orgs,
      eventsPerSecond,
      seconds: busySeconds,
      ...busy,
      p50: percentile(delays, 0.5),
      p99,
      requests: received.length,
      peakBytes: busyPeak,
    }
    const figure = (
      measured: Figure['measured'],
      row: string,
      rest: Pick<Figure, 'value' | 'unit' | 'goal' | 'note'>,
    ): Figure => ({ row: `${name} ${row}`, measured, ...rest })
    return [
      figure(atRest, 'start', {
        value: daemon.startMs / 1000,
        unit: 's',
        goal: { atMost: 5 },
        note: 'the first one, which makes all cursors',
      }),
      figure(atRest, 'idle daemon', {
        value: 100 * idle.daemonCores,
        unit: 'core',
        goal: { atMost: 3 },
        note: `over ${idleSeconds} s`,
      }),
      figure(atRest, 'idle PostgreSQL', {
        value: 100 * idle.postgresCores,
        unit: 'core',
        goal: { atMost: 2 },
        note: 'all of its processes',
      }),
      figure(atRest, 'memory', {
        value: peak / 1_000_000,
        unit: 'MB',
        goal: { atMost: 250 },
        note: 'the most until then, start included',
      }),
      figure(atWork, 'busy p99', {
        value: p99,
        unit: 'ms',
        goal: { atMost: 3_000 },
        note: `commit to accepted; p50 ${Math.round(atWork.p50)} ms, ${received.length} requests`,
      }),
      figure(atWork, 'busy daemon', {
        value: 100 * busy.daemonCores,
        unit: 'core',
        goal: { atMost: 60 },
        note: `PostgreSQL with the writers' work: ${Math.round(100 * busy.postgresCores)} %`,
      }),
    ]
  },
}

async function allOpened({ sql }: Scene): Promise<void> {
  const deadline = performance.now() + 60_000
  while (performance.now() < deadline) {
    const [row] = await sql<{ count: number }[]>`SELECT count(*)::int FROM spillway.cursors`
    if (row?.count === orgs) return
    await delay(100)
  }
  throw new Error('not every destination has a cursor after a minute')
}

interface Usage {
  /** Cores that were busy on average. */
  readonly daemonCores: number
  readonly postgresCores: number
}

async function usage(stage: Stage, daemon: BenchDaemon, work: () => Promise<unknown>): Promise<Usage> {
  const look = async () => ({
    at: performance.now(),
    daemon: await daemon.cpuSeconds(),
    postgres: await stage.postgresCpuSeconds(),
  })
  const before = await look()
  await work()
  const after = await look()
  const seconds = (after.at - before.at) / 1000
  return {
    daemonCores: (after.daemon - before.daemon) / seconds,
    postgresCores: (after.postgres - before.postgres) / seconds,
  }
}
