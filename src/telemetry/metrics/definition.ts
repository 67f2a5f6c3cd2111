/** What an entry of the catalogue of metrics is made of. docs/METRICS.md and the registry both come from it. */

export interface MetricDefinition {
  readonly type: 'counter' | 'gauge' | 'histogram'
  /** One sentence, for the answer of `/metrics` and the page. */
  readonly help: string
  /** What it is counted in. */
  readonly unit: string
  /** What the reader does with it. */
  readonly use: string
  readonly labels?: Readonly<Record<string, LabelDefinition>>
  /** Of a histogram: upper bounds. */
  readonly buckets?: readonly number[]
  /**
   * With `SPILLWAY_METRICS_PER_DESTINATION`, a second metric tells the same of each destination; this is its help. Its
   * name has `spillway_destination_` for `spillway_`, and its one label is `destination_id`.
   */
  readonly perDestination?: string
}

/**
 * Labels are bounded, or a tenant could make series without end: either by values that are listed here, or by
 * what the operator has registered. Never an org, a name, an address or a message.
 */
export interface LabelDefinition {
  readonly description: string
  readonly values: readonly string[] | LabelSource
}

/** What bounds the values of a label that are not listed. */
type LabelSource = 'log types' | 'destination ids' | 'versions' | 'log events' | 'metrics'

/** Stands for a value that the catalogue does not list. */
export const otherValue = 'other'

const destinationId: LabelDefinition = {
  description: 'Id of the destination',
  values: 'destination ids',
}

export function destinationMetricName(name: string): string {
  return name.replace(/^spillway_(max_)?/, 'spillway_destination_')
}

/** Of a metric that has `perDestination`; undefined of others. */
export function destinationMetric(definition: MetricDefinition): MetricDefinition | undefined {
  const { perDestination: help, labels: _, ...rest } = definition
  return help === undefined ? undefined : { ...rest, help, labels: { destination_id: destinationId } }
}

/** How an event of the log moves a counter or fills a histogram. */
export interface EventMetric<Name extends string = string> {
  readonly name: Name
  /** The field with the amount; of a list its length. Without: 1. */
  readonly by?: string
  /** From the field's unit to the metric's; 0.001 makes seconds of milliseconds. */
  readonly scale?: number
  /** By label: the field with its value, or the value itself. */
  readonly labels?: Readonly<Record<string, { readonly field: string } | { readonly value: string }>>
}
