/**
 * The metrics of one daemon: a registry of its own, moved by the events of the log and by what providers tell when
 * somebody scrapes. Definitions are in metrics/.
 *
 * Counting never throws, whatever is in the fields (I9: nor does it make a series that the catalogue does not
 * bound). A value that cannot be read is left out and counted; the others are answered.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { EventDefinition } from './events/field.ts'
import { type EventCode, events } from './events.ts'
import type { EventCounter } from './log.ts'
import { boundLabel } from './metrics/bounds.ts'
import { ownMetrics, requestMetrics } from './metrics/catalogue.ts'
import { destinationMetric, destinationMetricName, type MetricDefinition } from './metrics/definition.ts'
import { EventEffects } from './metrics/event-effects.ts'
import { ProcessReader, processMetrics } from './metrics/process.ts'
import { type GaugeName, readAtScrape } from './metrics/read-at-scrape.ts'

export interface Reading {
  readonly labels?: Readonly<Record<string, string>>
  readonly value: number
}

/** What a gauge is at the moment: one number, or one for each set of labels. */
type Read = () => number | readonly Reading[]

export type Readings = { readonly [Name in GaugeName]?: Read }

/** What is told of each destination, where that is asked for. Null where it is not known. */
export interface DestinationReading {
  readonly id: number
  readonly lagEvents: number | null
  readonly lagSeconds: number | null
}

export interface MetricsOptions {
  /** Of Spillway. */
  readonly version: string
  /** Series for each destination, too: their number is the destinations'. */
  readonly perDestination: boolean
}

type Withdraw = () => void

export class Metrics implements EventCounter {
  readonly #registry = new Registry()
  readonly #options: MetricsOptions
  readonly #events = new Map<EventCode, { readonly level: string; count: number }>()
  readonly #effects = new Map<EventCode, (fields: Readonly<Record<string, unknown>>) => void>()
  readonly #eventEffects: EventEffects
  readonly #eventCounter: Counter
  readonly #errors: Counter
  readonly #requests: Histogram
  readonly #gauges = new Map<string, Gauge>()
  readonly #unlabelled = new Set<Gauge>()
  readonly #providers = new Map<string, Set<Read>>()
  readonly #destinations = new Set<() => readonly DestinationReading[]>()
  readonly #process = new ProcessReader()
  readonly #processor: Counter
  #requestsInFlight = 0

  constructor(options: MetricsOptions) {
    this.#options = options
    this.#eventEffects = new EventEffects(this.#registry, options.perDestination)
    for (const [name, definition] of Object.entries<EventDefinition>(events)) {
      const code = name as EventCode // Object.entries forgets the keys' type
      this.#events.set(code, { level: definition.level, count: 0 })
      const effect = this.#eventEffects.of(definition)
      if (effect) this.#effects.set(code, effect)
    }
    this.#eventCounter = new Counter(
      this.#shape('spillway_log_events_total', ownMetrics.spillway_log_events_total),
    )
    this.#errors = new Counter(
      this.#shape('spillway_metric_errors_total', ownMetrics.spillway_metric_errors_total),
    )
    const request = requestMetrics.spillway_http_request_duration_seconds
    this.#requests = new Histogram({
      ...this.#shape('spillway_http_request_duration_seconds', request),
      buckets: [...request.buckets],
    })
    this.#processor = new Counter(
      this.#shape('process_cpu_seconds_total', processMetrics.process_cpu_seconds_total),
    )
    for (const [name, definition] of Object.entries<MetricDefinition>({
      ...readAtScrape,
      ...processMetrics,
    })) {
      if (definition.type !== 'gauge') continue
      const gauge = new Gauge(this.#shape(name, definition))
      this.#gauges.set(name, gauge)
      if (definition.labels === undefined) this.#unlabelled.add(gauge)
      const own = options.perDestination ? destinationMetric(definition) : undefined
      const ownName = destinationMetricName(name)
      if (own) this.#gauges.set(ownName, new Gauge(this.#shape(ownName, own)))
    }
    this.provide({
      spillway_build_info: () => [{ labels: { version: options.version, node: process.version }, value: 1 }],
      spillway_http_requests_in_flight: () => this.#requestsInFlight,
    })
  }

  /** Of what `render` gives. */
  get contentType(): string {
    return this.#registry.contentType
  }

  count(code: EventCode, fields: object): void {
    const event = this.#events.get(code)
    if (event) event.count += 1
    // The cast: what is read of the fields is checked there.
    this.#effects.get(code)?.(fields as Readonly<Record<string, unknown>>)
  }

  /** A request is sent; what is returned is to be called with the class of its answer. */
  beginRequest(): (result: string) => void {
    const began = performance.now()
    this.#requestsInFlight += 1
    return (result) => {
      this.#requestsInFlight -= 1
      const bound = boundLabel(requestMetrics.spillway_http_request_duration_seconds, 'result', result)
      this.#requests.observe({ result: bound }, (performance.now() - began) / 1_000)
    }
  }

  /** From now on these are read at each scrape, beside what others provide, until what is returned is called. */
  provide(readings: Readings): Withdraw {
    const entries = Object.entries(readings)
    for (const [name, read] of entries) {
      const reads = this.#providers.get(name) ?? new Set()
      this.#providers.set(name, reads.add(read))
    }
    return () => {
      for (const [name, read] of entries) this.#providers.get(name)?.delete(read)
    }
  }

  /** Destinations that there are; what is not among them any more loses its series. */
  provideDestinations(read: () => readonly DestinationReading[]): Withdraw {
    this.#destinations.add(read)
    return () => {
      this.#destinations.delete(read)
    }
  }

  /** All of it in the text format of Prometheus. */
  async render(): Promise<string> {
    this.#eventCounter.reset()
    for (const [event, { level, count }] of this.#events) this.#eventCounter.inc({ event, level }, count)
    for (const [name, read] of Object.entries(this.#process.readings)) {
      if (name !== 'process_cpu_seconds_total') this.#set(name, [read])
    }
    this.#processor.reset()
    this.#processor.inc(this.#process.readings.process_cpu_seconds_total() ?? 0)
    for (const name of Object.keys(readAtScrape)) this.#set(name, this.#providers.get(name) ?? [])
    if (this.#options.perDestination) this.#tellDestinations()
    return this.#registry.metrics()
  }

  close(): void {
    this.#process.close()
  }

  #set(name: string, reads: Iterable<() => number | undefined | readonly Reading[]>): void {
    const gauge = this.#gauges.get(name)
    if (!gauge) return
    gauge.reset()
    // Without labels it would be 0 now, which is not what it is when nobody knows.
    if (this.#unlabelled.has(gauge)) gauge.remove()
    try {
      for (const read of reads) {
        const values = read()
        const readings = typeof values === 'object' ? values : [{ value: values ?? Number.NaN }]
        for (const { labels = {}, value } of readings) if (Number.isFinite(value)) gauge.set(labels, value)
      }
    } catch {
      this.#errors.inc({ metric: name })
    }
  }

  #tellDestinations(): void {
    const there = new Map<string, DestinationReading>()
    try {
      for (const read of this.#destinations) for (const each of read()) there.set(String(each.id), each)
    } catch {
      this.#errors.inc({ metric: 'spillway_destination_lag_events' })
      return
    }
    this.#eventEffects.keepDestinations(there)
    const gaugeOf = (value: (each: DestinationReading) => number | null) => () =>
      [...there].map(([destination_id, each]) => ({
        labels: { destination_id },
        value: value(each) ?? Number.NaN,
      }))
    this.#set('spillway_destination_lag_events', [gaugeOf(({ lagEvents }) => lagEvents)])
    this.#set('spillway_destination_lag_seconds', [gaugeOf(({ lagSeconds }) => lagSeconds)])
  }

  #shape(name: string, { help, labels = {} }: MetricDefinition) {
    return { name, help, labelNames: Object.keys(labels), registers: [this.#registry] }
  }
}
