/**
 * Where a destination begins when the database could not start its cursor: it asks for the beginning or
 * for an instant, its source became readable later, or the audit tables are in another database.
 */
import type { Destination } from '../destinations/destination.ts'
import type { Floor } from '../sources/floors.ts'
import { comparePositions, type Position } from '../sources/position.ts'
import type { Reader } from '../sources/reader.ts'

/** A transaction stamps its rows when it begins, by another clock perhaps: some earlier events, none missed. */
const stampMarginMs = 60_000

/**
 * `floor`: a place that "now" is surely not before. `isNew`: it has no cursor at all yet, so what it waits for began with it,
 * and not with a later edit.
 */
export async function findStart(
  { startFrom, createdAt, isNew }: Pick<Destination, 'startFrom' | 'createdAt'> & { readonly isNew: boolean },
  reader: Pick<Reader, 'beginning' | 'before'>,
  horizon: Position,
  floor: Floor | undefined,
): Promise<Position> {
  switch (startFrom.kind) {
    case 'beginning':
      return reader.beginning()
    case 'instant':
      return lower(await reader.before(startFrom.instant), horizon)
    case 'now': {
      if (floor === undefined) return lower(await stamped(reader, createdAt), horizon)
      if (floor.savedAt === undefined) return lower(floor.position, horizon)
      // The last run may have gone on for a moment after it saved this; and others may have gone on for long, and saved it
      // again, while nobody could deliver to this destination.
      const saved = await stamped(reader, isNew ? Math.min(floor.savedAt, createdAt) : floor.savedAt)
      return lower(saved === undefined ? floor.position : lower(saved, floor.position), horizon)
    }
    default:
      return startFrom satisfies never
  }
}

function stamped(reader: Pick<Reader, 'before'>, epochMs: number): Promise<Position | undefined> {
  return reader.before(new Date(epochMs - stampMarginMs).toISOString())
}

/** Rows that are still to appear lie beyond the horizon, whatever their timestamps. */
function lower(position: Position | undefined, horizon: Position): Position {
  return position !== undefined && comparePositions(position, horizon) < 0 ? position : horizon
}
