/** The benchmarks, in the order in which they run. */
import type { Benchmark } from './benchmark.ts'
import { catchUp } from './catch-up.ts'
import { latency } from './latency.ts'
import { memory } from './memory.ts'

export const benchmarks: readonly Benchmark[] = [
  catchUp({ batchSize: 1_000, goal: { atLeast: 0.8 } }),
  catchUp({ batchSize: 250, goal: { atLeast: 0.9 } }),
  memory,
  latency({ hints: false }),
  latency({ hints: true }),
]
