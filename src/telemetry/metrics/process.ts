/** The process itself. Names are those that exporters for Node.js commonly use, so that common dashboards fit. */
import { readdirSync } from 'node:fs'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { MetricDefinition } from './definition.ts'

export const processMetrics = {
  process_cpu_seconds_total: {
    type: 'counter',
    help: 'Processor time of the process, user and system.',
    unit: 'seconds',
    use: 'Its rate is the number of cores in use; JavaScript itself runs on one.',
  },
  process_resident_memory_bytes: {
    type: 'gauge',
    help: 'Memory of the process that is resident.',
    unit: 'bytes',
    use: 'Bounded whatever the backlog; PERFORMANCE.md has figures.',
  },
  process_start_time_seconds: {
    type: 'gauge',
    help: 'When the process started, in seconds since 1970.',
    unit: 'seconds',
    use: 'Changes tell of restarts.',
  },
  process_open_fds: {
    type: 'gauge',
    help: 'Open file descriptors, where the system tells.',
    unit: 'descriptors',
    use: 'Grows without end: a leak.',
  },
  nodejs_heap_size_used_bytes: {
    type: 'gauge',
    help: 'Heap in use.',
    unit: 'bytes',
    use: 'Rises and falls with the garbage collector; a floor that rises for days is a leak.',
  },
  nodejs_eventloop_lag_p50_seconds: {
    type: 'gauge',
    help: 'Half of the delays of the event loop since the last scrape were at most this.',
    unit: 'seconds',
    use: 'About 0.01 at rest: that is the resolution.',
  },
  nodejs_eventloop_lag_p99_seconds: {
    type: 'gauge',
    help: '99 % of the delays of the event loop since the last scrape were at most this.',
    unit: 'seconds',
    use: 'Above a second the process starves: it needs more of a processor.',
  },
  nodejs_eventloop_lag_max_seconds: {
    type: 'gauge',
    help: 'The longest delay of the event loop since the last scrape.',
    unit: 'seconds',
    use: 'Near the lease time, leases are lost.',
  },
} as const satisfies Record<string, MetricDefinition>

export type ProcessMetricName = keyof typeof processMetrics

/** A sample every so often costs nothing that could be measured. */
const resolutionMs = 10

/** Measures from its making until `close`. Reading the longest delay begins the next span. */
export class ProcessReader {
  readonly #delay = monitorEventLoopDelay({ resolution: resolutionMs })
  readonly readings: Readonly<Record<ProcessMetricName, () => number | undefined>> = {
    process_cpu_seconds_total: () => {
      const { user, system } = process.cpuUsage()
      return (user + system) / 1e6
    },
    process_resident_memory_bytes: () => process.memoryUsage.rss(),
    process_start_time_seconds: () => performance.timeOrigin / 1_000,
    process_open_fds: () => openDescriptors(),
    nodejs_heap_size_used_bytes: () => process.memoryUsage().heapUsed,
    nodejs_eventloop_lag_p50_seconds: () => seconds(this.#delay.percentile(50)),
    nodejs_eventloop_lag_p99_seconds: () => seconds(this.#delay.percentile(99)),
    nodejs_eventloop_lag_max_seconds: () => {
      const longest = seconds(this.#delay.max)
      this.#delay.reset()
      return longest
    },
  }

  constructor() {
    this.#delay.enable()
  }

  close(): void {
    this.#delay.disable()
  }
}

/** Without a sample there is none, and the histogram's own value for that makes no sense. */
function seconds(nanoseconds: number): number | undefined {
  const value = nanoseconds / 1e9
  return value > 0 && value < 1e6 ? value : undefined
}

/** Undefined where there is no /proc. */
function openDescriptors(): number | undefined {
  try {
    // One of them is that of the reading itself.
    return readdirSync('/proc/self/fd').length - 1
  } catch {
    return undefined
  }
}
