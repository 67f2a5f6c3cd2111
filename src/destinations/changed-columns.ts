/** Which columns of a destination's row an edit has changed, by the names that they have in the table. */
import type { DestinationRow } from './destination.ts'

const columnNames = {
  orgId: 'org_id',
  name: 'name',
  type: 'type',
  config: 'config',
  logTypes: 'log_types',
  startFrom: 'start_from',
  filter: 'filter',
  redaction: 'redaction',
  delivery: 'delivery',
} as const satisfies Partial<Record<keyof DestinationRow, string>>

export function changedColumns(before: DestinationRow, after: DestinationRow): string[] {
  return Object.entries(columnNames).flatMap(([key, column]) => {
    const field = key as keyof typeof columnNames // Object.entries forgets the keys' type
    return JSON.stringify(before[field]) === JSON.stringify(after[field]) ? [] : [column]
  })
}
