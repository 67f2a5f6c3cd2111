/** A row of `spillway.destinations` becomes a destination, or what is wrong with it is named, field by field. */
import { DestinationConfigError } from '../../providers/provider.ts'
import { type Destination, type DestinationRules, parseDestination } from '../destinations/destination.ts'
import type { RegisteredRow } from '../destinations/registry.ts'
import type { Log } from '../telemetry/log.ts'

/** Whatever a row does to its parsing, it is the row that is at fault, and the others run on. */
export function judge(
  row: RegisteredRow,
  rules: DestinationRules,
  log: Log,
): Destination | DestinationConfigError {
  try {
    return parseDestination(row, rules)
  } catch (error) {
    if (error instanceof DestinationConfigError) return error
    log.emit('destination.error', { ...describe(row), error })
    return new DestinationConfigError([
      { field: 'destination', problem: 'cannot be read; the log has the error (destination.error)' },
    ])
  }
}

/** For log lines. */
export function describe(row: RegisteredRow) {
  return { destination_id: row.id, name: row.name, type: row.type, org: row.orgId }
}
