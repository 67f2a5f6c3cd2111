/**
 * Whether a source went back in time: was restored, truncated with RESTART IDENTITY, made anew, or had its
 * sequence set back. New rows would then lie at positions that have been read already, and be passed over in
 * silence (I5). Such a source is stopped until `spillway sources rebase` has mended it.
 *
 * Deleted rows are no sign of it: retention may empty a table. The signs are
 * - a sequence that stands lower than it did, or draws ids below what was read;
 * - a highest row that rises and is still not above what was read;
 * - another server, table or sequence on which the last row that was known (the *anchor*) is not the same;
 * - for the ordering `xact`, another cluster, or one whose transactions are behind the cursors.
 *
 * Pure.
 */
import { comparePositions, laterOf, origin, type Position, parseXactPosition } from './position.ts'

/** A row by its position and its timestamp as PostgreSQL writes it. */
export interface Anchor {
  readonly position: Position
  readonly stamp: string
}

/** What is remembered of a source beside its horizon. */
export interface Trace {
  /** The cluster's system identifier. */
  readonly cluster: string
  /** See `Source.incarnation`. */
  readonly incarnation: string
  /** Last id that the sequence gave out; null before the first, undefined where it cannot be read. */
  readonly lastDrawn?: string | null | undefined
  /** The highest row, when it was last looked up. */
  readonly anchor?: Anchor | null | undefined
  /** OIDs of the table and its partitions. */
  readonly parts?: readonly string[] | undefined
  /** The lowest row. */
  readonly oldest?: Position | null | undefined
}

/**
 * How far a source was read, and what it was like then. Without a cursor nobody has read anything: then there
 * is nothing to be lost, whatever the source did.
 */
export interface Memory {
  readonly horizon: Position | undefined
  /** The foremost end of a cursor or of a batch that is frozen beyond it. */
  readonly cursor: Position | undefined
  readonly trace: Trace | undefined
}

/** What one look at the ids of a table sees. */
export interface IdsSeen {
  readonly highest: Position | null
  readonly lastDrawn: string | null | undefined
}

/** Undefined where there is no sign; else a sentence with the figures. */
export type Rewind = string | undefined

/** Judged when a source is looked up. `anchorHolds` says whether the anchor's row is still there as it was. */
export function rewindOfIds(
  { horizon, cursor, trace }: Memory,
  now: IdsSeen & Pick<Trace, 'cluster' | 'incarnation'>,
  anchorHolds: boolean,
): Rewind {
  if (cursor === undefined) return undefined
  const read = horizon === undefined ? cursor : laterOf(horizon, cursor)
  if (trace === undefined) {
    const isBehind = isBelow(now.lastDrawn ?? undefined, read) && isBelow(now.highest ?? origin, read)
    return isBehind
      ? `its ids end at ${now.highest ?? 'none'} and its sequence at ${now.lastDrawn}, and it was read up to ${read}`
      : undefined
  }
  return setBack(trace.lastDrawn, now.lastDrawn, read) ?? moved(trace, now, anchorHolds, read)
}

/** Partitions that the table did not have: their rows may lie at positions that were read already. */
export function partsSince({ cursor, trace }: Memory, now: readonly string[]): readonly string[] {
  const before = trace?.parts
  const [table] = now
  // Another table, or nobody who has read it.
  if (cursor === undefined || before === undefined || table === undefined || !before.includes(table))
    return []
  return now.filter((oid) => !before.includes(oid))
}

/** Judged at every look after that. */
export function rewindBetween(before: IdsSeen, now: IdsSeen, horizon: Position): Rewind {
  const back = setBack(before.lastDrawn, now.lastDrawn, horizon)
  if (back !== undefined) return back
  const { highest, lastDrawn } = now
  const draws = typeof before.lastDrawn === 'string' && typeof lastDrawn === 'string'
  if (draws && isBelow(before.lastDrawn, lastDrawn) && isBelow(lastDrawn, horizon)) {
    return `its sequence draws ids such as ${lastDrawn}, and the table was read up to ${horizon}`
  }
  const rises = highest !== null && (before.highest === null || isBelow(before.highest, highest))
  return rises && comparePositions(highest, horizon) <= 0
    ? `a row came at ${highest}, and the table was read up to ${horizon}`
    : undefined
}

/** Judged when a source of the ordering `xact` is looked up; `nextXact` will be drawn next, or later. */
export function rewindOfTransactions(
  { cursor, trace }: Memory,
  now: Pick<Trace, 'cluster' | 'incarnation'> & { readonly nextXact: string },
  anchorHolds: boolean,
): Rewind {
  if (cursor === undefined) return undefined
  const { xact } = parseXactPosition(cursor)
  if (trace && trace.cluster !== now.cluster) {
    return `its transactions are those of another cluster (system identifier ${now.cluster}; it was ${trace.cluster})`
  }
  if (isBelow(now.nextXact, xact)) {
    return `the next transaction is ${now.nextXact}, and the table was read up to transaction ${xact}`
  }
  return trace && moved(trace, now, anchorHolds, cursor)
}

function setBack(before: string | null | undefined, now: string | null | undefined, read: Position): Rewind {
  if (typeof before !== 'string' || now === undefined) return undefined
  return isBelow(now ?? origin, before) && isBelow(now ?? origin, read)
    ? `its sequence was set back from ${before} to ${now ?? 'its start'}, and the table was read up to ${read}`
    : undefined
}

function moved(trace: Trace, now: Pick<Trace, 'incarnation'>, anchorHolds: boolean, read: Position): Rewind {
  if (trace.incarnation === now.incarnation || !trace.anchor || anchorHolds) return undefined
  const { position, stamp } = trace.anchor
  return (
    `its table, sequence or server is another one, on which the row at ${position} of ${stamp} is not to be found; ` +
    `it was read up to ${read}`
  )
}

function isBelow(a: Position | undefined, b: Position): boolean {
  return a !== undefined && comparePositions(a, b) < 0
}
