/** What a stream has read, encoded as it arrived. */
import type { AuditEvent, EncodedEvent, Limits } from '../../providers/provider.ts'
import type { ReadRow } from '../sources/page.ts'
import type { Position } from '../sources/position.ts'

/** An event that waits to be sent, or a gap that deleted rows have left. */
export type Item = EventItem | Gap

export interface EventItem extends EncodedEvent {
  readonly kind: 'event'
  readonly position: Position
  /** Undefined where nothing depends on it. */
  readonly timestampMs: number | undefined
  /** An earlier item has the same position and event id. */
  readonly isDuplicate?: true
}

/** Rows after `from` up to and including `position` may have been deleted before they were sent. */
export interface Gap {
  readonly kind: 'gap'
  readonly from: Position
  readonly position: Position
}

/** `now` in epoch milliseconds; `limits`: of whoever is to have it. */
export function itemOf(
  { position, event, oversizeBytes, isDuplicate }: ReadRow,
  encode: (event: AuditEvent, now: number) => string,
  now: number,
  { maxEventAgeMs, maxEventAheadMs }: Limits,
): EventItem {
  // As bytes they are outside of V8's heap, where no collection of garbage carries them about.
  const body = Buffer.from(oversizeBytes === undefined ? encode(event, now) : '')
  const isDated = maxEventAgeMs !== undefined || maxEventAheadMs !== undefined
  const item: EventItem = {
    kind: 'event',
    position,
    id: event.id,
    body,
    bytes: oversizeBytes ?? body.length,
    timestampMs: isDated ? event.timestampMs : undefined,
  }
  return isDuplicate ? { ...item, isDuplicate } : item
}

/** The room that an item takes; a row that was too large to be fetched takes none. */
export function heldBytes(item: Item): number {
  return item.kind === 'gap' ? 0 : item.body.length
}
