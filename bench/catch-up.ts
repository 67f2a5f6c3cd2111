/**
 * How fast one destination catches up, with all bookkeeping and no pause between batches, as a ratio to a
 * bare loop over the same rows. The two take turns, so that whatever else the machine does meets both.
 */
import type { Benchmark, Goal } from './benchmark.ts'
import { runBareLoop } from './stage/bare-loop.ts'
import { drain } from './stage/drain.ts'
import { eventsPerSecond, type Receiver } from './stage/receiver.ts'
import type { Stage } from './stage/stage.ts'
import { median } from './statistics.ts'

/** The median of five bears two disturbed pairs. */
const pairs = 5

export function catchUp({ batchSize, goal }: { batchSize: number; goal: Goal }): Benchmark {
  const name = `catch-up-${batchSize}`
  return {
    name,
    what: `catch-up of one destination, batches of ${batchSize}, against a bare loop`,
    async run(stage, report) {
      const receiver = await stage.receiver()
      // Nobody's turn: warms the receiver and PostgreSQL's cache for both.
      await bareRate(stage, receiver, batchSize)
      const bare: number[] = []
      const daemon: number[] = []
      const ratios: number[] = []
      for (let pair = 1; pair <= pairs; pair++) {
        const bareNow = await bareRate(stage, receiver, batchSize)
        const daemonNow = await daemonRate(stage, receiver, batchSize)
        bare.push(bareNow)
        daemon.push(daemonNow)
        ratios.push(daemonNow / bareNow)
        report(
          `${name} pair ${pair} of ${pairs}: ${Math.round(daemonNow)} against ${Math.round(bareNow)} events/s`,
        )
      }
      const [low, high] = [Math.min(...ratios), Math.max(...ratios)]
      return [
        {
          row: name,
          value: median(ratios),
          unit: 'ratio',
          goal,
          note: `${perSecond(daemon)} against ${perSecond(bare)} events/s, ratios ${low.toFixed(2)}–${high.toFixed(2)}`,
          measured: { ratios, daemonEventsPerSecond: daemon, bareEventsPerSecond: bare },
        },
      ]
    },
  }
}

async function bareRate(stage: Stage, receiver: Receiver, batchSize: number): Promise<number> {
  await stage.quiesce()
  const received = await receiver.during(await stage.count(), () =>
    runBareLoop({ databaseUrl: stage.databaseUrl, url: receiver.url, batchSize }),
  )
  return eventsPerSecond(received)
}

async function daemonRate(stage: Stage, receiver: Receiver, batchSize: number): Promise<number> {
  const { received } = await drain(stage, receiver, { batchSize })
  return eventsPerSecond(received)
}

function perSecond(rates: readonly number[]): string {
  return Math.round(median(rates)).toLocaleString('en')
}
