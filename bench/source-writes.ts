/** What following a table costs those who write it: the rate of single-row transactions, with against without. */
import type { Benchmark } from './benchmark.ts'
import { addDestination } from './stage/destination.ts'
import type { Scene } from './stage/scene.ts'
import { writeFlatOut } from './stage/writers.ts'
import { median } from './statistics.ts'

const name = 'source-writes'
const clients = 4
const seconds = 3
const pairs = 5

export const sourceWrites: Benchmark = {
  name,
  what: 'rate of single-row inserts by four clients while Spillway follows, against without it',
  async run(stage, report) {
    const { url } = await stage.receiver()
    await using scene = await stage.scene({ rows: 1_000, orgs: 1 })
    await addDestination(scene.sql, { url, startFrom: 'now' })
    const rate = () => writeFlatOut(scene.databaseUrl, clients, seconds)
    const rates: { readonly without: number; readonly followed: number }[] = []
    for (let pair = 1; pair <= pairs; pair++) {
      await scene.quiesce()
      await rate()
      const without = await rate()
      const followed = await whileFollowed(scene, rate)
      rates.push({ without, followed })
      report(
        `${name} pair ${pair} of ${pairs}: ${Math.round(followed)} against ${Math.round(without)} rows/s`,
      )
    }
    const ratios = rates.map(({ without, followed }) => followed / without)
    const followed = rates.map((each) => each.followed)
    const without = rates.map((each) => each.without)
    return [
      {
        row: name,
        value: median(ratios),
        unit: 'ratio',
        goal: { atLeast: 0.95 },
        note: `${Math.round(median(followed))} against ${Math.round(median(without))} rows/s`,
        measured: { ratios, followedRowsPerSecond: followed, unfollowedRowsPerSecond: without },
      },
    ]
  },
}

async function whileFollowed(scene: Scene, rate: () => Promise<number>): Promise<number> {
  await scene.quiesce()
  await using daemon = await scene.daemon()
  // A daemon's first second is its compiler's.
  await rate()
  const measured = await rate()
  await daemon.stop()
  return measured
}
