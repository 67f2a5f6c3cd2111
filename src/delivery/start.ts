/**
 * Where a destination begins when the database could not start its cursor: it asks for the beginning or
 * for an instant, its source became readable later, or the audit tables are in another database.
 */
import type { Destination } from '../destinations/destination.ts'
import { comparePositions, type Position } from '../sources/position.ts'
import type { Reader } from '../sources/reader.ts'

/**
 * For "now" the time the destination was made is looked up in the rows' timestamps. They are stamped when
 * their transaction began, by another clock perhaps: a minute of earlier events is the price of missing none.
 */
const nowMarginMs = 60_000

export async function findStart(
  { startFrom, createdAt }: Pick<Destination, 'startFrom' | 'createdAt'>,
  reader: Reader,
  horizon: Position,
): Promise<Position> {
  switch (startFrom.kind) {
    case 'beginning':
      return reader.beginning()
    case 'instant':
      return lower(await reader.before(startFrom.instant), horizon)
    case 'now':
      return lower(await reader.before(new Date(createdAt - nowMarginMs).toISOString()), horizon)
    default:
      return startFrom satisfies never
  }
}

/** Rows that are still to appear lie beyond the horizon, whatever their timestamps. */
function lower(position: Position | undefined, horizon: Position): Position {
  return position !== undefined && comparePositions(position, horizon) < 0 ? position : horizon
}
