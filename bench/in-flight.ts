/** What several batches under way at once (`maxInFlight`) gain where each answer takes its time. */
import type { Benchmark, Report } from './benchmark.ts'
import { drain } from './stage/drain.ts'
import { eventsPerSecond } from './stage/receiver.ts'
import { orgName } from './stage/rows.ts'
import type { Stage } from './stage/stage.ts'
import { median } from './statistics.ts'

const name = 'in-flight-4'
const latencyMs = 50
const batchSize = 100
const pairs = 3

export const inFlight: Benchmark = {
  name,
  what: `four batches in flight against an endpoint that answers after ${latencyMs} ms, as a ratio to one`,
  async run(stage, report) {
    const rates: { readonly one: number; readonly four: number }[] = []
    for (let pair = 1; pair <= pairs; pair++) {
      rates.push({ one: await rate(stage, 1, report), four: await rate(stage, 4, report) })
    }
    const ones = rates.map(({ one }) => one)
    const fours = rates.map(({ four }) => four)
    const ratios = rates.map(({ one, four }) => four / one)
    return [
      {
        row: name,
        value: median(ratios),
        unit: 'ratio',
        goal: { atLeast: 3.5 },
        note: `${Math.round(median(fours))} against ${Math.round(median(ones))} events/s, batches of ${batchSize}`,
        measured: { ratios, oneEventsPerSecond: ones, fourEventsPerSecond: fours },
      },
    ]
  },
}

async function rate(stage: Stage, maxInFlight: number, report: Report): Promise<number> {
  const receiver = await stage.receiver()
  const destination = {
    url: receiver.slowUrl(latencyMs),
    org: orgName(0),
    delivery: { batchSize, maxInFlight },
  }
  const { received } = await drain(await stage.backlog(), receiver, {
    batchSize,
    destinations: [destination],
  })
  const events = eventsPerSecond(received)
  report(`${name}: ${maxInFlight} in flight, ${Math.round(events)} events/s`)
  return events
}
