/** A thousand endpoints that never answer, beside a thousand that do: what the latter notice (I6). */
import { randomInt } from 'node:crypto'
import type { Benchmark } from './benchmark.ts'
import { delaysOf } from './stage/delays.ts'
import { addDestinations } from './stage/destination.ts'
import { orgName } from './stage/rows.ts'
import type { Stage } from './stage/stage.ts'
import { write } from './stage/writers.ts'
import { percentile } from './statistics.ts'

const name = 'hung-1000'
/** Of each kind. */
const endpoints = 1_000
const rowsPerSecond = 400
const seconds = 15
/** Shorter than the default, so that time-outs and the attempts after them are part of the run. */
const requestTimeoutMs = 5_000

export const hung: Benchmark = {
  name,
  what: '1,000 endpoints that never answer beside 1,000 healthy ones: p99 of the latter, with against without',
  async run(stage, report) {
    const without = await delaysOfHealthy(stage, false)
    report(`${name}: p99 ${Math.round(percentile(without, 0.99))} ms without`)
    const beside = await delaysOfHealthy(stage, true)
    report(`${name}: p99 ${Math.round(percentile(beside, 0.99))} ms beside them`)
    const figures = (delays: readonly number[]) => ({
      p50: percentile(delays, 0.5),
      p99: percentile(delays, 0.99),
    })
    const [alone, among] = [figures(without), figures(beside)]
    return [
      {
        row: name,
        value: among.p99 / alone.p99,
        unit: 'ratio',
        goal: { atMost: 1.5 },
        note: `p99 ${Math.round(among.p99)} ms against ${Math.round(alone.p99)} ms, commit to accepted`,
        measured: {
          rows: without.length,
          p50Without: alone.p50,
          p99Without: alone.p99,
          p50Beside: among.p50,
          p99Beside: among.p99,
        },
      },
    ]
  },
}

/** The same rows are written in either case: for every second row there is a hung endpoint, or none. */
async function delaysOfHealthy(stage: Stage, isBeside: boolean): Promise<number[]> {
  const receiver = await stage.receiver()
  await using scene = await stage.scene({ rows: 0, orgs: 1 })
  const destination = (url: string, org: number) => ({ url, org: orgName(org), startFrom: 'now' }) as const
  const numbers = Array.from({ length: endpoints }, (_, number) => number)
  const healthy = numbers.map((number) => destination(receiver.url, number))
  const silent = numbers.map((number) => destination(receiver.hungUrl, endpoints + number))
  await addDestinations(scene.sql, isBeside ? [...healthy, ...silent] : healthy)
  // Not stopped but killed at the end: a stop waits for the hung requests.
  await using _daemon = await scene.daemon({ SPILLWAY_REQUEST_TIMEOUT_MS: String(requestTimeoutMs) })
  let row = 0
  let committed: ReadonlyMap<number, number> = new Map()
  const received = await receiver.during((rowsPerSecond * seconds) / 2, async () => {
    committed = await write({
      databaseUrl: scene.databaseUrl,
      rowsPerSecond,
      seconds,
      org: () => randomInt(endpoints) + (row++ % 2) * endpoints,
    })
  })
  return delaysOf(received, committed)
}
