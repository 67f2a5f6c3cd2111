/** Keeps labels within what the catalogue lists. */
import { type MetricDefinition, otherValue } from './definition.ts'

/** The label as it appears: what is not listed counts together. */
export function boundLabel(definition: MetricDefinition, label: string, value: string): string {
  const values = definition.labels?.[label]?.values
  return Array.isArray(values) && !values.includes(value) ? otherValue : value
}
