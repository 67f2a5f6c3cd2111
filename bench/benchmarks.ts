/** The benchmarks, in the order in which they run. */
import { backlog } from './backlog.ts'
import type { Benchmark } from './benchmark.ts'
import { catchUp250, catchUp1000, catchUpSigned, parallel } from './catch-up.ts'
import { fleet } from './fleet.ts'
import { hung } from './hung.ts'
import { inFlight } from './in-flight.ts'
import { largeRows } from './large-rows.ts'
import { latency } from './latency.ts'
import { queries } from './queries.ts'
import { sourceWrites } from './source-writes.ts'

export const benchmarks: readonly Benchmark[] = [
  catchUp1000,
  catchUpSigned,
  catchUp250,
  parallel,
  queries,
  inFlight,
  latency({ hints: false }),
  latency({ hints: true }),
  fleet,
  backlog,
  largeRows,
  hung,
  sourceWrites,
]
