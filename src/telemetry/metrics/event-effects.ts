/** What an event moves, made ready once, so that an event costs a few additions and nothing is looked up twice. */
import { Counter, Histogram, type Registry } from 'prom-client'
import type { EventDefinition } from '../events/field.ts'
import { boundLabel } from './bounds.ts'
import {
  destinationMetric,
  destinationMetricName,
  type EventMetric,
  type MetricDefinition,
} from './definition.ts'
import { movedByEvents } from './moved-by-events.ts'

type Fields = Readonly<Record<string, unknown>>
type Effect = (fields: Fields) => void

export class EventEffects {
  readonly #counters = new Map<string, Counter>()
  readonly #histograms = new Map<string, Histogram>()
  readonly #byDestination = new Map<string, Counter>()
  /** Destinations that have series. */
  readonly #destinations = new Set<string>()
  /** Those of them that have all. */
  readonly #begun = new Set<string>()

  constructor(registry: Registry, perDestination: boolean) {
    for (const [name, definition] of Object.entries<MetricDefinition>(movedByEvents)) {
      const { help, buckets = [], labels = {} } = definition
      const shape = { name, help, labelNames: Object.keys(labels), registers: [registry] }
      if (definition.type === 'histogram') {
        this.#histograms.set(name, new Histogram({ ...shape, buckets: [...buckets] }))
        continue
      }
      const counter = new Counter(shape)
      begin(counter, labels)
      this.#counters.set(name, counter)
      const own = perDestination ? destinationMetric(definition) : undefined
      if (!own) continue
      const ownShape = { name: destinationMetricName(name), help: own.help, registers: [registry] }
      this.#byDestination.set(name, new Counter({ ...ownShape, labelNames: ['destination_id'] }))
    }
  }

  /** From now on exactly these have series; new ones begin at 0. */
  keepDestinations(ids: { has(id: string): boolean; keys(): Iterable<string> }): void {
    for (const id of this.#destinations) {
      if (ids.has(id)) continue
      this.#destinations.delete(id)
      this.#begun.delete(id)
      for (const counter of this.#byDestination.values()) counter.remove({ destination_id: id })
    }
    for (const id of ids.keys()) {
      if (this.#begun.has(id)) continue
      this.#destinations.add(id)
      this.#begun.add(id)
      for (const counter of this.#byDestination.values()) counter.inc({ destination_id: id }, 0)
    }
  }

  /** Undefined where an event moves nothing. */
  of({ metrics = [] }: EventDefinition): Effect | undefined {
    const effects = metrics.flatMap((metric) => [this.#effectOf(metric), this.#effectByDestination(metric)])
    const real = effects.filter((effect) => effect !== undefined)
    if (real.length === 0) return undefined
    return (fields) => {
      for (const effect of real) effect(fields)
    }
  }

  #effectOf(metric: EventMetric<keyof typeof movedByEvents>): Effect | undefined {
    const { name } = metric
    const amount = amountOf(metric)
    const histogram = this.#histograms.get(name)
    if (histogram) return (fields) => histogram.observe(amount(fields))
    const counter = this.#counters.get(name)
    if (!counter) return undefined
    if (metric.labels === undefined) return (fields) => counter.inc(amount(fields))
    const definition: MetricDefinition = movedByEvents[name]
    const labels = Object.entries(metric.labels)
    return (fields) => {
      const values = labels.map(([label, from]) => {
        const value = 'value' in from ? from.value : String(fields[from.field])
        return [label, boundLabel(definition, label, value)]
      })
      counter.inc(Object.fromEntries(values), amount(fields))
    }
  }

  #effectByDestination(metric: EventMetric): Effect | undefined {
    const counter = this.#byDestination.get(metric.name)
    const amount = amountOf(metric)
    if (!counter) return undefined
    return (fields) => {
      const id = String(fields.destination_id)
      this.#destinations.add(id)
      counter.inc({ destination_id: id }, amount(fields))
    }
  }
}

/** Never negative and never NaN, which the registry would throw for. */
function amountOf({ by, scale = 1 }: EventMetric): (fields: Fields) => number {
  if (by === undefined) return () => 1
  return (fields) => {
    const value = fields[by]
    const amount = Array.isArray(value) ? value.length : Number(value ?? 0) * scale
    return amount > 0 && Number.isFinite(amount) ? amount : 0
  }
}

/** From 0, where it is known which there will be: a first rise that has nothing before it is none to Prometheus. */
function begin(counter: Counter, labels: NonNullable<MetricDefinition['labels']>): void {
  const [only, ...others] = Object.entries(labels)
  if (!only || others.length > 0 || !Array.isArray(only[1].values)) return
  for (const value of only[1].values) counter.inc({ [only[0]]: value }, 0)
}
