/**
 * How fast a backlog is delivered, with all bookkeeping and no pause between batches, as a ratio to a bare
 * loop over the same rows. The two take turns, so that whatever else the machine does meets both.
 */
import type { Benchmark, Goal } from './benchmark.ts'
import { type BareLoopOptions, runBareLoop } from './stage/bare-loop.ts'
import { type DrainOptions, drain } from './stage/drain.ts'
import { eventsPerSecond, type Receiver } from './stage/receiver.ts'
import { orgName } from './stage/rows.ts'
import type { Scene } from './stage/scene.ts'
import { median } from './statistics.ts'

/** The median of five bears two disturbed pairs. */
const pairs = 5

/** 32 bytes, as the example of Standard Webhooks has. */
const secret = `whsec_${Buffer.alloc(32, 'bench').toString('base64')}`

interface Rival {
  readonly name: string
  readonly what: string
  readonly goal: Goal
  readonly daemon: (receiver: Receiver) => DrainOptions
  readonly bare: Omit<BareLoopOptions, 'databaseUrl' | 'url'>
}

export const catchUp1000 = rivalry({
  name: 'catch-up-1000',
  what: 'catch-up of one destination, batches of 1,000, against a bare loop',
  goal: { atLeast: 0.85 },
  daemon: () => ({ batchSize: 1_000 }),
  bare: { batchSize: 1_000 },
})

export const catchUpSigned = rivalry({
  name: 'catch-up-signed',
  what: 'the same, signed and gzipped, against a bare loop that does so too',
  goal: { atLeast: 0.7 },
  daemon: ({ url }) => ({
    batchSize: 1_000,
    destinations: [{ url, config: { gzip: true, signing: { secrets: [secret] } } }],
  }),
  bare: { batchSize: 1_000, secret },
})

export const catchUp250 = rivalry({
  name: 'catch-up-250',
  what: 'the same in batches of 250, plain',
  goal: { atLeast: 1 },
  daemon: () => ({ batchSize: 250 }),
  bare: { batchSize: 250 },
})

export const parallel = rivalry({
  name: 'parallel-10',
  what: 'ten destinations of ten orgs at once, batches of 1,000, against one bare loop for all rows',
  goal: { atLeast: 0.85 },
  daemon: ({ url }) => ({
    batchSize: 1_000,
    destinations: Array.from({ length: 10 }, (_, number) => ({ url, org: orgName(number) })),
  }),
  bare: { batchSize: 1_000 },
})

function rivalry({ name, what, goal, daemon, bare }: Rival): Benchmark {
  return {
    name,
    what,
    async run(stage, report) {
      const receiver = await stage.receiver()
      const scene = await stage.backlog()
      const bareRate = () => rateOfBareLoop(scene, receiver, bare)
      // Nobody's turn: warms the receiver and PostgreSQL's cache for both.
      await bareRate()
      const rates: { readonly bare: number; readonly daemon: number }[] = []
      for (let pair = 1; pair <= pairs; pair++) {
        const rate = {
          bare: await bareRate(),
          daemon: eventsPerSecond((await drain(scene, receiver, daemon(receiver))).received),
        }
        rates.push(rate)
        report(
          `${name} pair ${pair} of ${pairs}: ${Math.round(rate.daemon)} against ${Math.round(rate.bare)} events/s`,
        )
      }
      const daemonRates = rates.map((rate) => rate.daemon)
      const bareRates = rates.map((rate) => rate.bare)
      const ratios = rates.map((rate) => rate.daemon / rate.bare)
      const [low, high] = [Math.min(...ratios), Math.max(...ratios)]
      return [
        {
          row: name,
          value: median(ratios),
          unit: 'ratio',
          goal,
          note: `${perSecond(daemonRates)} against ${perSecond(bareRates)} events/s, ratios ${low.toFixed(2)}–${high.toFixed(2)}`,
          measured: { ratios, daemonEventsPerSecond: daemonRates, bareEventsPerSecond: bareRates },
        },
      ]
    },
  }
}

async function rateOfBareLoop(
  scene: Scene,
  receiver: Receiver,
  options: Omit<BareLoopOptions, 'databaseUrl' | 'url'>,
): Promise<number> {
  await scene.quiesce()
  const received = await receiver.during(await scene.count(), () =>
    runBareLoop({ databaseUrl: scene.databaseUrl, url: receiver.url, ...options }),
  )
  return eventsPerSecond(received)
}

function perSecond(rates: readonly number[]): string {
  return Math.round(median(rates)).toLocaleString('en')
}
