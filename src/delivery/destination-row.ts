/** What the log says of a destination's row. */
import type { DestinationRow } from '../destinations/destination.ts'

export function describe(row: DestinationRow) {
  return { destination_id: row.id, name: row.name, type: row.type, org: row.orgId }
}

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

/** As the table names them. */
export function changedColumns(before: DestinationRow, after: DestinationRow): string[] {
  return Object.entries(columnNames).flatMap(([key, column]) => {
    const field = key as keyof typeof columnNames // Object.entries forgets the keys' type
    return JSON.stringify(before[field]) === JSON.stringify(after[field]) ? [] : [column]
  })
}
