/**
 * What following a table costs those who write it: the rate of single-row transactions, with against without. One
 * client leaves room on the machine for everybody, so that what it loses it loses to Spillway's queries and locks. Four
 * take all that there is, and what is lost then is mostly the processor time that delivering their rows takes.
 */
import type { Benchmark, Figure, Report } from './benchmark.ts'
import { addDestination, settled } from './stage/destination.ts'
import type { Scene } from './stage/scene.ts'
import { writeFlatOut } from './stage/writers.ts'
import { median } from './statistics.ts'

const name = 'source-writes'
const warmUpSeconds = 1
const seconds = 2

interface Load {
  readonly row: string
  readonly clients: number
  readonly pairs: number
  readonly goal?: Figure['goal']
}

const loads: readonly Load[] = [
  { row: name, clients: 1, pairs: 10, goal: { atLeast: 0.95 } },
  { row: `${name} saturated`, clients: 4, pairs: 3 },
]

export const sourceWrites: Benchmark = {
  name,
  what: 'rate of single-row inserts while Spillway follows, against without it',
  async run(stage, report) {
    const { url } = await stage.receiver()
    await using scene = await stage.scene({ rows: 1_000, orgs: 1 })
    const id = await addDestination(scene.sql, { url, startFrom: 'now' })
    const figures: Figure[] = []
    for (const load of loads) figures.push(await compare(scene, id, load, report))
    return figures
  },
}

async function compare(
  scene: Scene,
  destination: number,
  { row, clients, pairs, goal }: Load,
  report: Report,
): Promise<Figure> {
  const rate = async () => {
    await writeFlatOut(scene.databaseUrl, clients, warmUpSeconds)
    return writeFlatOut(scene.databaseUrl, clients, seconds)
  }
  const rates: { readonly without: number; readonly followed: number }[] = []
  for (let pair = 1; pair <= pairs; pair++) {
    await scene.quiesce()
    // In turns the one or the other first: what drifts meanwhile is in favour of neither.
    const before = pair % 2 === 0 ? await whileFollowed(scene, destination, rate) : undefined
    const without = await rate()
    const followed = before ?? (await whileFollowed(scene, destination, rate))
    rates.push({ without, followed })
    report(`${row} pair ${pair} of ${pairs}: ${Math.round(followed)} against ${Math.round(without)} rows/s`)
  }
  const ratios = rates.map(({ without, followed }) => followed / without)
  const followed = rates.map((each) => each.followed)
  const without = rates.map((each) => each.without)
  const of = clients === 1 ? 'one client' : `${clients} clients`
  return {
    row,
    value: median(ratios),
    unit: 'ratio',
    ...(goal && { goal }),
    note: `${Math.round(median(followed))} against ${Math.round(median(without))} rows/s of ${of}`,
    measured: { clients, ratios, followedRowsPerSecond: followed, unfollowedRowsPerSecond: without },
  }
}

async function whileFollowed(
  scene: Scene,
  destination: number,
  rate: () => Promise<number>,
): Promise<number> {
  await scene.quiesce()
  await using daemon = await scene.daemon()
  // What was written without it is no part of following.
  await settled(scene.sql, [destination])
  const measured = await rate()
  await daemon.stop()
  return measured
}
